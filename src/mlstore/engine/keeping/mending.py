"""Mending: records of a whole file that lost some of them, made to fit together again. Each step tells what it had to let go.

Invariant: nothing is invented. Counts and indexes are made anew from what they repeat; anything else is kept or dropped.
"""

from collections import Counter
from collections.abc import Callable, Iterator

from mlstore.engine import audit
from mlstore.engine.branching.branches import REFLOG, reflog
from mlstore.engine.catalog import load_catalog
from mlstore.engine.entries import CATALOG, read_entry
from mlstore.engine.history.extents import stored_segments
from mlstore.engine.history.segments import SEGMENTS
from mlstore.engine.history.tail import CLOCKS_BYTES, TAIL, decode_clocks
from mlstore.engine.ledger import COMMIT_IDS, COMMITS, FEED, FEED_KEY, LINE_SEQ, RECENT, index, recent_bodies
from mlstore.engine.versions import (
    COUNTERS,
    FIRST_LINE,
    FORK_KEY,
    FORKS,
    LINES,
    MAIN,
    MERGES,
    REFS,
    all_scopes,
    find_ref,
    named,
    put_ref,
    read_counter,
)
from mlstore.errors import CorruptionError, MlstoreError
from mlstore.format.manifest import (
    Commit,
    Ref,
    SegmentEntry,
    decode_ancestry,
    decode_commit,
    decode_record,
    encode_fields,
)
from mlstore.format.packed import FixedFields
from mlstore.storage.keyspace import Keyspace
from mlstore.storage.transaction import Writer

_LINE = FixedFields(">I")
_NUMBER = FixedFields(">Q")


def mend_records(writer: Writer, now_us: int) -> Iterator[str]:
    """Definitions, commits, lines, names, the audit and the counters."""
    yield from _drop_unreadable(writer, CATALOG, "a definition", lambda key, packed: read_entry(key, packed))
    for place, body in recent_bodies(writer):
        writer.delete(COUNTERS, RECENT + place)
        writer.put(COMMITS, place or bytes(1), body)
    yield from _drop_unreadable(writer, COMMITS, "a commit", _read_commit)
    yield from _drop_unreadable(writer, LINES, "what a branch sees", lambda key, packed: (_LINE.unpack(key), decode_ancestry(packed)))
    if writer.get(LINES, _LINE.pack(FIRST_LINE)) is None:
        writer.put(LINES, _LINE.pack(FIRST_LINE), encode_fields([]))
    yield from _drop_unreadable(writer, REFS, "a name", lambda key, packed: (key.decode(), decode_record(Ref, packed)))
    yield from _drop_unreadable(writer, REFLOG, "a move of a branch", lambda key, packed: _NUMBER.unpack(key))
    try:
        list(reflog(writer))
    except CorruptionError:
        writer.delete_range(REFLOG)
        yield "the moves of branches"
    yield from _mend_lines(writer)
    told = {LINE_SEQ.unpack(key): decode_commit(packed) for key, packed in writer.scan(COMMITS)}
    yield from _mend_names(writer, told, now_us)
    _index_commits(writer, told)
    yield from _mend_audit(writer, now_us)
    yield from _drop_homeless(writer)
    _raise_counters(writer, told)


def _read_commit(key: bytes, packed: bytes) -> object:
    commit = decode_commit(packed)
    if LINE_SEQ.unpack(key) != (commit.line, commit.seq):
        raise CorruptionError("a commit in the place of another")
    return commit


def _drop_unreadable(writer: Writer, space: Keyspace, what: str, read: Callable[[bytes, bytes], object]) -> Iterator[str]:
    bad = []
    for key, packed in writer.scan(space):
        try:
            read(key, packed)
        except (MlstoreError, UnicodeDecodeError):
            bad.append(key)
    for key in bad:
        writer.delete(space, key)
        yield f"{what}: its record {key.hex()[:40]} cannot be read"


def _mend_lines(writer: Writer) -> Iterator[str]:
    scopes = {scope.line: scope for scope in all_scopes(writer)}
    for line, scope in scopes.items():
        parents = [parent for parent, _ in scope.told]
        if line in parents or not all(parent in scopes for parent in parents):
            writer.delete(LINES, _LINE.pack(line))
            yield f"line {line}, whose origin is gone"
    writer.delete_range(FORKS)
    for scope in all_scopes(writer):
        for parent, fork in scope.ancestry:
            writer.put(FORKS, FORK_KEY.pack(parent, fork, scope.line), b"")


def _mend_names(writer: Writer, told: dict[tuple[int, ...], Commit], now_us: int) -> Iterator[str]:
    lines = {scope.line for scope in all_scopes(writer)}
    for kind in ("branch", "tag"):
        for name, ref in named(writer, kind):
            commit = told.get((ref.line, ref.seq))
            if ref.line not in lines or (kind == "tag" and (commit is None or commit.id != ref.commit)):
                writer.delete(REFS, name.encode())
                yield f"{'branch' if kind == 'branch' else 'snapshot'} {name!r}, which names what is gone"
    if find_ref(writer, MAIN) is None:
        put_ref(writer, MAIN, Ref("branch", FIRST_LINE, 0, "", now_us, ""))
        yield f"where branch {MAIN!r} stood: it stands on the first line now"


def _index_commits(writer: Writer, told: dict[tuple[int, ...], Commit]) -> None:
    for space in (COMMIT_IDS, MERGES, FEED):
        writer.delete_range(space)
    lines = {scope.line for scope in all_scopes(writer)}
    by_id = {commit.id: place for place, commit in told.items()}
    index(writer, writer.scan(COMMITS))
    for (line, seq), commit in told.items():
        if len(commit.parents) == 2 and commit.parents[1] in by_id:
            writer.put(MERGES, LINE_SEQ.pack(line, seq), LINE_SEQ.pack(*by_id[commit.parents[1]]))
        for change in commit.changes if line not in lines else ():
            writer.delete_range(FEED, *_span_of(change.table_id, line))


def _span_of(table: int, line: int) -> tuple[bytes, bytes]:
    """Where the feed of a table on a line lies."""
    return FEED_KEY.pack(table, line, 0, 0), FEED_KEY.pack(table, line + 1, 0, 0)


def _mend_audit(writer: Writer, now_us: int) -> Iterator[str]:
    """An audit with a gap proves nothing any more: it begins anew with the names that are there."""
    try:
        problems = audit.find_breaks(writer, Counter())
    except MlstoreError as error:
        problems = [error.message]
    if not problems:
        return
    yield f"the audit: {problems[0]}"
    writer.delete_range(audit.AUDIT)
    for name, _ in named(writer, "branch"):
        if name != MAIN:
            audit.record_act(writer, audit.BRANCH + "create", name, time_us=now_us, author="salvage")
    for name, ref in named(writer, "tag"):
        commit = audit.find_commit(writer, ref.commit)
        audit.record_act(writer, audit.SNAPSHOT, name, time_us=now_us, author="salvage", after=commit)


def _drop_homeless(writer: Writer) -> Iterator[str]:
    """Views whose entity is gone cannot be read."""
    while True:
        try:
            for scope in all_scopes(writer):
                for relation in load_catalog(writer, scope).stores():
                    _ = relation.plan
            return
        except MlstoreError as error:
            kept = dict(writer.scan(CATALOG))
            views = [key for key in kept if key.startswith(b"view\0")]
            if not views:
                return
            bad = next((key for key in views if _is_homeless(writer, key, kept)), views[0])
            writer.delete(CATALOG, bad)
            yield f"view {bad.split(bytes(1))[1].decode()!r}: {error.message}"


def _is_homeless(writer: Writer, key: bytes, kept: dict[bytes, bytes]) -> bool:
    entity = getattr(read_entry(key, kept[key]).definition, "entity_name", None)
    return entity is not None and not any(other.startswith(b"entity\0" + entity.encode() + b"\0") for other in kept)


def _raise_counters(writer: Writer, told: dict[tuple[int, ...], Commit]) -> None:
    entries = [decode_record(SegmentEntry, packed) for _, packed in _readable(writer, SEGMENTS)]
    definitions = [read_entry(key, packed) for key, packed in writer.scan(CATALOG)]
    extents = list(stored_segments(writer))
    most = {
        "seq": max([seq for _, seq in told] + [entry.max_seq for entry in entries] + [entry.seq for entry in definitions], default=0),
        "segment": max(extents, default=0),
        "run": max((entry.run for entry in entries), default=0),
        "table": max((entry.table for entry in definitions), default=0),
        "line": max((scope.line for scope in all_scopes(writer)), default=0),
        "time": max((commit.time_us for commit in told.values()), default=0),
        "reflog": 0 if (last := writer.last(REFLOG)) is None else _NUMBER.unpack(last[0])[0],
    }
    tails = (_NUMBER.size, CLOCKS_BYTES)
    seqs = [int(decode_clocks(key[-tails[1] :])[2][0]) for key, _ in writer.scan(TAIL) if len(key) >= tails[1]]
    acts = [_NUMBER.unpack(key)[0] for key, _ in writer.scan(audit.AUDIT) if len(key) == tails[0]]
    most["seq"] = max([most["seq"], *seqs, *acts])
    for name, least in most.items():
        try:
            known = read_counter(writer, name)
        except CorruptionError:
            known = 0
        writer.put(COUNTERS, name.encode(), _NUMBER.pack(max(known, least)))


def _readable(writer: Writer, space: Keyspace) -> Iterator[tuple[bytes, bytes]]:
    for key, packed in writer.scan(space):
        try:
            decode_record(SegmentEntry, packed)
        except CorruptionError:
            continue
        yield key, packed
