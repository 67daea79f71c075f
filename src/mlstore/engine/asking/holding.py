"""Holding: histories that stay as they are without a transaction, for work that goes on after the call returned.

Each segment is leased, the tail lies in memory already.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlstore.engine.asking.selection import Selected
from mlstore.engine.history.block import Block
from mlstore.engine.history.offline import MAX_TIME, MIN_TIME
from mlstore.engine.history.segments import is_stored
from mlstore.engine.session import ReadContext, Session
from mlstore.engine.windows.answering import source_numbers
from mlstore.format.keys import Keys
from mlstore.storage.lease import Lease


@dataclass(frozen=True, slots=True)
class HeldHistory:
    """The blocks of a table at a version, and the leases that keep their bytes in place."""

    leases: tuple[Lease, ...]
    held: tuple[Block, ...]

    def blocks(self, *, keys: Keys | None = None, first_time: int = MIN_TIME, last_time: int = MAX_TIME) -> list[Block]:
        """The blocks that may hold rows of these keys (sorted) and times, in the order in which ties are settled."""
        span = None if keys is None or not len(keys) else (keys.encoded_at(0), keys.encoded_at(len(keys) - 1))
        return [
            block
            for block in self.held
            if block.span.first_time <= last_time
            and block.span.last_time >= first_time
            and (span is None or (block.span.first_key <= span[1] and block.span.last_key >= span[0]))
        ]


def hold(session: Session, context: ReadContext, selection: Sequence[Selected]) -> list[HeldHistory] | None:
    """The histories of what is selected as the context sees them; None if some segment cannot be leased."""
    held = []
    for selected in selection:
        blocks = context.history(selected.stored).blocks()
        numbers = selected.numbers if selected.relation.window is None else source_numbers(selected.relation, selected.numbers)
        for block in blocks:
            block.open(numbers)
        leases = [context.reader.leases.acquire(block.segment) for block in blocks if block.segment is not None]
        held.append(HeldHistory(tuple(lease for lease in leases if lease is not None), tuple(blocks)))
        if None in leases:
            return None
    with session.reading() as fresh:
        # A collector may have been faster than a lease: then only the context's transaction still sees the segment.
        segments = [block.segment for history in held for block in history.held if block.segment is not None]
        return held if all(is_stored(fresh.reader, segment) for segment in segments) else None
