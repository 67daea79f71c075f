"""Lines that no name needs any more: found, and swept with all that they hold. Their commits stay, as parts of the history of others."""

from mlstore.engine import limits
from mlstore.engine.branching.branches import reflog
from mlstore.engine.history.offline import STATES
from mlstore.engine.history.online import KEPT, ONLINE, hand_down
from mlstore.engine.history.segments import drop_entry, list_entries
from mlstore.engine.history.shadows import SHADOWS
from mlstore.engine.history.tail import TAIL
from mlstore.engine.ledger import FEED, settle
from mlstore.engine.retained import drop_spans
from mlstore.engine.session import WriteContext
from mlstore.engine.versions import FORK_KEY, FORKS, LINES, line_scope, named, read_counter
from mlstore.engine.windows.marks import MARKS
from mlstore.engine.windows.tiles import TILES
from mlstore.engine.writing.upkeep import TRASH
from mlstore.format.packed import FixedFields
from mlstore.storage.keyspace import prefix_end
from mlstore.storage.transaction import Reader, Writer

_LINE = FixedFields(">I")
_OWNER = FixedFields(">II")
_SEGMENT = FixedFields(">Q")


def sweep_lines(context: WriteContext) -> int:
    """Drop the lines that no branch, snapshot or other line needs, once the grace period is over; how many."""
    unneeded = sorted(_lines(context.reader) - needed_lines(context.reader, context.now_us), reverse=True)
    if unneeded:
        settle(context.writer)  # what is recent on a line may not be told of once the line is gone
    for line in unneeded:
        _drop_line(context.writer, line)
    return len(unneeded)


def _lines(reader: Reader) -> set[int]:
    return {_LINE.unpack(key)[0] for key, _ in reader.scan(LINES)}


def needed_lines(reader: Reader, now_us: int) -> set[int]:
    """The lines that a branch, a snapshot, another such line, or the grace period needs."""
    roots = {ref.line for kind in ("branch", "tag") for _, ref in named(reader, kind)}
    for move in reflog(reader):
        if (move.time.timestamp()) * 1_000_000 <= now_us - limits.GRACE_US:
            break
        roots.add(move.line)
    known = _lines(reader)
    return {line for root in roots & known for line, _ in line_scope(reader, root).lineage()}


def _drop_line(writer: Writer, line: int) -> None:
    for parent, fork in line_scope(writer, line).ancestry:
        writer.delete(FORKS, FORK_KEY.pack(parent, fork, line))
        hand_down(writer, parent, fork)
    for table in range(1, read_counter(writer, "table") + 1):
        for entry in list_entries(writer, table, line):
            drop_entry(writer, table, line, entry.segment)
            writer.put(TRASH, _SEGMENT.pack(entry.segment), b"")
        prefix = _OWNER.pack(table, line)
        for space in (TAIL, ONLINE, KEPT, SHADOWS, STATES, FEED, TILES, MARKS):
            writer.delete_range(space, prefix, prefix_end(prefix))
    drop_spans(writer, line)
    writer.delete(LINES, _LINE.pack(line))
