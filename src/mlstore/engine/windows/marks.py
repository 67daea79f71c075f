"""Marks: up to which state of its source the tiles of a view are right, and what waits beside the trees; see `waiting`.

Whatever changes the source without telling a keeper leaves the mark behind, so that nobody reads the tiles until they are filled in again.
"""

from dataclasses import dataclass

from mlstore.engine.history.offline import load_state
from mlstore.engine.session import ReadContext
from mlstore.engine.windows.tiles import CURE, KeptByKey, TilePlan
from mlstore.engine.windows.waiting import NOTHING, Waiting, decode_entry, digest, encode_entry
from mlstore.errors import CorruptionError
from mlstore.format.manifest import decode_fields, encode_fields
from mlstore.format.packed import FixedFields
from mlstore.storage.keyspace import declare, prefix_end
from mlstore.storage.transaction import Reader, Writer

MARKS = declare("tile_marks")  # table of the window view | line -> the mark; | number | piece -> a piece of what waits

PIECE_BYTES = 1900  # two pieces fill a page of the file
_NUMBER = FixedFields(">Q")
_PIECE = FixedFields(">QH")


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to which tick of the source trees are right, or were where events wait; for which keys: those below `until`, or, None, all.

    since: the trees of the other keys are right but for rows with this number of the sequence or a greater one; 0: they have none.
    """

    tick: int
    until: bytes | None
    waiting: Waiting = NOTHING
    since: int = 0

    @property
    def right_at(self) -> int:
        """The tick of the source for which trees and what waits are right."""
        return self.waiting.tick if self.waiting.digests else self.tick


def load_mark(reader: Reader, plan: TilePlan, line: int) -> Mark | None:
    """The mark; None: there is none, or tiles of this view were other ones then."""
    packed = reader.get(MARKS, plan.prefix(line))
    return None if packed is None else decode_mark(plan, packed)


def decode_mark(plan: TilePlan, packed: bytes) -> Mark | None:
    """The mark in these bytes; None: tiles of this view were other ones then."""
    fields = decode_fields(packed)
    if not fields or fields[0] != plan.form:
        return None
    if len(fields) != 9 or not isinstance(fields[6], list) or not isinstance(fields[5], int) or fields[5] < 0:
        raise CorruptionError(f"the mark of the tiles of {plan.relation.label} makes no sense", hint=CURE)
    _, tick, until, since, waits, first, digests, events, most = fields
    return Mark(tick, until, Waiting(waits, first, tuple(digests), events, most), since)


def live_mark(context: ReadContext, plan: TilePlan) -> Mark | None:
    """The mark, if the trees, with what waits beside them, are right as of now for the keys it tells."""
    scope = context.scope
    if not scope.is_live or scope.ancestry:
        return None
    mark = load_mark(context.reader, plan, scope.line)
    return mark if mark is not None and mark.right_at == load_state(context.reader, plan.source.relation.table, scope.line).tick else None


def put_mark(writer: Writer, plan: TilePlan, line: int, mark: Mark) -> None:
    """Move the mark; entries that wait are put before."""
    waiting = mark.waiting
    fields = [
        plan.form,
        mark.tick,
        mark.until,
        mark.since,
        waiting.tick,
        waiting.first,
        list(waiting.digests),
        waiting.events,
        waiting.most,
    ]
    writer.put(MARKS, plan.prefix(line), encode_fields(fields))


def put_entry(writer: Writer, plan: TilePlan, line: int, waiting: Waiting, kept: KeptByKey) -> Waiting:
    """Let events wait; what waits then."""
    packed, prefix, number = encode_entry(kept), plan.prefix(line), waiting.first + len(waiting.digests)
    pieces = range(0, len(packed), PIECE_BYTES)
    writer.put_many(MARKS, [(prefix + _PIECE.pack(number, at // PIECE_BYTES), packed[at : at + PIECE_BYTES]) for at in pieces])
    return waiting.then(packed, kept)


def load_entry(reader: Reader, plan: TilePlan, line: int, number: int, told: bytes) -> bytes:
    """An entry as it was put."""
    packed = b"".join(piece for _, piece in reader.scan_prefix(MARKS, plan.prefix(line) + _NUMBER.pack(number)))
    if digest(packed) != told:
        raise CorruptionError(f"events that wait for the tiles of {plan.relation.label} are not what was written", hint=CURE)
    return packed


def load_entries(reader: Reader, plan: TilePlan, line: int, waiting: Waiting) -> list[bytes]:
    """All entries that wait, oldest first."""
    return [load_entry(reader, plan, line, number, told) for number, told in enumerate(waiting.digests, waiting.first)]


def load_waiting(reader: Reader, plan: TilePlan, line: int, waiting: Waiting) -> list[KeptByKey]:
    """All events that wait, in the order of writing."""
    return [decode_entry(plan, packed) for packed in load_entries(reader, plan, line, waiting)]


def drop_waiting(writer: Writer, plan: TilePlan, line: int) -> None:
    """Remove all that waits; the mark stays."""
    prefix = plan.prefix(line)
    writer.delete_range(MARKS, prefix + b"\0", prefix_end(prefix))
