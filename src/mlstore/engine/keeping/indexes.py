"""Indexes: records that only repeat what others say, or count them, compared with what they repeat; what `verify` asks once of a file."""

from collections.abc import Iterator

from mlstore.engine.branching.branches import REFLOG
from mlstore.engine.entries import entry_digests
from mlstore.engine.history.extents import stored_segments
from mlstore.engine.history.staging import STAGED
from mlstore.engine.ledger import COMMIT_IDS, COMMITS, FEED, FEED_KEY, LINE_SEQ, recent_bodies
from mlstore.engine.mirror import find_mirror
from mlstore.engine.versions import (
    FORK_KEY,
    FORKS,
    MERGES,
    all_scopes,
    find_ref,
    named,
    read_counter,
)
from mlstore.engine.writing.upkeep import TRASH
from mlstore.errors import CorruptionError
from mlstore.format.manifest import Commit, decode_commit
from mlstore.format.packed import FixedFields
from mlstore.storage.keyspace import Keyspace
from mlstore.storage.transaction import Reader

_SEGMENT = FixedFields(">Q")


def find_index_faults(reader: Reader) -> Iterator[str]:
    """What does not fit together."""
    try:
        settled = {LINE_SEQ.unpack(key): decode_commit(packed) for key, packed in reader.scan(COMMITS)}
        recent = {LINE_SEQ.unpack(key): decode_commit(packed) for key, packed in recent_bodies(reader)}
        told = settled | recent
        if recent and min(seq for _, seq in recent) <= max((seq for _, seq in settled), default=0):
            yield "a commit beside the counters is older than one that has moved on"
        yield from _find_misplaced_commits(reader, told)
        yield from _find_wrong_index(reader, settled)
        yield from _find_wrong_feed(reader, settled)
        yield from _find_wrong_lines(reader)
        yield from _find_wrong_names(reader, told)
        yield from _find_wrong_catalog(reader, told)
        if find_mirror(reader) is None:  # which takes no numbers: they come with the records, behind the extents
            yield from _find_low_counters(reader, told)
    except CorruptionError as error:
        yield error.message


Commits = dict[tuple[int, ...], Commit]


def _find_misplaced_commits(reader: Reader, told: Commits) -> Iterator[str]:
    by_id = {commit.id: place for place, commit in told.items()}
    if any((commit.line, commit.seq) != place for place, commit in told.items()):
        yield "a commit is kept under another place than its own"
    merged = {place: by_id.get(commit.parents[1]) for place, commit in told.items() if len(commit.parents) == 2}
    if merged != {LINE_SEQ.unpack(key): LINE_SEQ.unpack(place) for key, place in reader.scan(MERGES)}:
        yield "the index of merges is not that of the commits"


def _find_wrong_index(reader: Reader, settled: Commits) -> Iterator[str]:
    if {bytes.fromhex(commit.id): LINE_SEQ.pack(*place) for place, commit in settled.items()} != dict(reader.scan(COMMIT_IDS)):
        yield "the index of commit ids is not that of the commits"


def _find_wrong_feed(reader: Reader, settled: Commits) -> Iterator[str]:
    lines = {scope.line for scope in all_scopes(reader)}
    feed = {
        (change.table_id, line, seq, place)
        for (line, seq), commit in settled.items()
        if line in lines
        for place, change in enumerate(commit.changes)
    }
    if feed != {FEED_KEY.unpack(key) for key, _ in reader.scan(FEED)}:
        yield "the change feed is not that of the commits"


def _find_wrong_lines(reader: Reader) -> Iterator[str]:
    scopes = {scope.line: scope for scope in all_scopes(reader)}
    forks = {(parent, fork, line) for line, scope in scopes.items() for parent, fork in scope.ancestry}
    if forks != {FORK_KEY.unpack(key) for key, _ in reader.scan(FORKS)}:
        yield "the index of forks is not that of the lines"
    for line, scope in scopes.items():
        # A line sees what its parent sees up to the fork: nothing else, and never itself.
        parents = [parent for parent, _ in scope.told]
        if line in parents or len(set(parents)) != len(parents) or not all(parent in scopes for parent in parents):
            yield f"line {line} sees lines that are not there, or itself"


def _find_wrong_names(reader: Reader, told: Commits) -> Iterator[str]:
    lines = {scope.line for scope in all_scopes(reader)}
    for name, ref in [*named(reader, "branch"), *named(reader, "tag")]:
        if ref.line not in lines:
            yield f"{name!r} stands on line {ref.line}, which is not there"
        if ref.kind == "tag" and ((commit := told.get((ref.line, ref.seq))) is None or commit.id != ref.commit):
            yield f"snapshot {name!r} names another place than its commit's"
    if find_ref(reader, "main") is None:
        yield "there is no branch 'main'"


def _find_wrong_catalog(reader: Reader, told: Commits) -> Iterator[str]:
    found = dict(entry_digests(reader))
    applied = [change for commit in told.values() for change in commit.changes if change.op.startswith("apply ") and change.digest]
    for change in applied:
        if found.get(change.first_seq) != change.digest:
            yield f"the catalogue does not say of {change.table} what was applied"


def _find_low_counters(reader: Reader, told: Commits) -> Iterator[str]:
    seqs = [seq for _, seq in told]
    segments = list(stored_segments(reader))
    segments += [_SEGMENT.unpack(key)[0] for space in (STAGED, TRASH) for key, _ in reader.scan(space)]
    used = {
        "seq": max(seqs, default=0),
        "line": max((scope.line for scope in all_scopes(reader)), default=0),
        "segment": max(segments, default=0),
        "reflog": _last_number(reader, REFLOG),
        "time": max((commit.time_us for commit in told.values()), default=0),
    }
    yield from (
        f"the counter {name!r} is below a number that was given" for name, most in used.items() if read_counter(reader, name) < most
    )


def _last_number(reader: Reader, space: Keyspace) -> int:
    last = reader.last(space)
    return 0 if last is None else int(_SEGMENT.unpack(last[0])[0])
