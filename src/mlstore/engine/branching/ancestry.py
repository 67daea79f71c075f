"""Ancestry: what of each line a place has in it, by fork and by merge, and the newest commit that two places have in common."""

from mlstore.engine.ledger import LINE_SEQ
from mlstore.engine.versions import MERGES, Scope, head, line_scope
from mlstore.errors import UnknownVersionError
from mlstore.format.manifest import Commit
from mlstore.storage.transaction import Reader


def reach(reader: Reader, scope: Scope) -> dict[int, int]:
    """Up to which sequence each line is part of a place, merges included."""
    found: dict[int, int] = {}
    waiting = list(scope.lineage())
    while waiting:
        line, bound = waiting.pop()
        known = found.get(line, -1)
        if bound <= known:
            continue
        found[line] = bound
        merges = reader.scan(MERGES, start=LINE_SEQ.pack(line, known + 1), stop=LINE_SEQ.pack(line, bound) + b"\0")
        for _, merged in merges:
            other, seq = LINE_SEQ.unpack(merged)
            try:
                waiting += line_scope(reader, other, seq).lineage()
            except UnknownVersionError:
                waiting.append((other, seq))  # swept: its rows are gone, its commits are not
    return found


def merge_base(reader: Reader, ours: Scope, theirs: Scope) -> Commit | None:
    """The newest commit that is part of both; None: they have nothing in common."""
    here, there = reach(reader, ours), reach(reader, theirs)
    shared = [head(reader, line, min(here[line], there[line])) for line in here.keys() & there.keys()]
    return max((commit for commit in shared if commit is not None), key=lambda commit: commit.seq, default=None)
