"""The ledger: every commit of the file, found by its place (line, seq), by its id, and by the tables it changed.

The newest few lie beside the counters, in the page that every commit writes anyway; from there they move on together to where they
stay and are indexed. Invariant: a commit is in one of the two places, and of a line those beside the counters are the newest.
"""

from collections.abc import Iterable, Iterator
from heapq import merge as merge_sorted

from mlstore.engine import limits
from mlstore.errors import CorruptionError
from mlstore.format.manifest import Commit, changed_tables, commit_id, decode_commit
from mlstore.format.packed import CURE, FixedFields
from mlstore.storage.keyspace import declare
from mlstore.storage.transaction import Item, Reader, Writer

HEADS = declare("heads")  # what every commit changes: counters by name, states of tables, and RECENT | line | seq of a commit -> its body
COMMITS = declare("commits")  # line | seq -> body of a commit
COMMIT_IDS = declare("commit_ids")  # id -> line | seq
FEED = declare("feed")  # table | line | seq of a commit | place of the change in it: the changes of one table, in order

RECENT = b"\xff"  # behind all counters and states
LINE_SEQ = FixedFields(">IQ")
_LINE = FixedFields(">I")
FEED_KEY = FixedFields(">IIQH")

_MOST_PLACES = (1 << 16) - 1


def recent_bodies(reader: Reader) -> list[Item]:
    """(line | seq, body) of the commits that lie beside the counters, by line and seq."""
    return [(key[len(RECENT) :], body) for key, body in reader.scan(HEADS, start=RECENT)]


def enter(writer: Writer, line: int, seq: int, body: bytes, recent: list[Item]) -> None:
    """Take in a commit; `recent`: those that lie beside the counters now."""
    if len(recent) >= limits.RECENT_COMMITS:
        _move_on(writer, recent)
    writer.put(HEADS, RECENT + LINE_SEQ.pack(line, seq), body)


def settle(writer: Writer) -> None:
    """Let all commits lie where they stay."""
    _move_on(writer, recent_bodies(writer))


def index(writer: Writer, found: Iterable[Item]) -> None:
    """Let commits, given as (line | seq, body), be found by their ids and by the tables they changed."""
    ids, feed = [], []
    for place, body in found:
        ids.append((bytes.fromhex(commit_id(body)), place))
        feed += [(FEED_KEY.pack(table, *LINE_SEQ.unpack(place), number), b"") for number, table in enumerate(changed_tables(body))]
    writer.put_many(COMMIT_IDS, sorted(ids))
    writer.put_many(FEED, sorted(feed))


def newest_in(recent: list[Item], line: int) -> bytes | None:
    """The body of the newest one of a line among those beside the counters."""
    prefix = _LINE.pack(line)
    for place, body in reversed(recent):
        if place.startswith(prefix):
            return body
    return None


def newest_body(reader: Reader, line: int, bound: int) -> bytes | None:
    """The body of the newest commit of a line, up to a bound."""
    start, stop = LINE_SEQ.pack(line, 0), LINE_SEQ.pack(line, bound) + b"\0"
    found = reader.last(HEADS, RECENT + start, RECENT + stop) or reader.last(COMMITS, start, stop)
    return None if found is None else found[1]


def first_body(reader: Reader, line: int, seq: int) -> bytes | None:
    """The body of the first commit of a line from a sequence on."""
    start, stop = LINE_SEQ.pack(line, seq), LINE_SEQ.pack(line + 1, 0)
    found = reader.first(COMMITS, start, stop) or reader.first(HEADS, RECENT + start, RECENT + stop)
    return None if found is None else found[1]


def body_at(reader: Reader, place: bytes) -> bytes | None:
    """The body of the commit at line | seq."""
    found = reader.get(COMMITS, place)
    return reader.get(HEADS, RECENT + place) if found is None else found


def bodies(reader: Reader, line: int, bound: int) -> Iterator[bytes]:
    """The bodies of the commits of a line up to a bound, newest first."""
    start, stop = LINE_SEQ.pack(line, 0), LINE_SEQ.pack(line, bound) + b"\0"
    for space, prefix in ((HEADS, RECENT), (COMMITS, b"")):
        for _, body in reader.scan(space, start=prefix + start, stop=prefix + stop, reverse=True):
            yield body


def every_body(reader: Reader) -> Iterator[Item]:
    """(line | seq, body) of every commit of the file."""
    yield from reader.scan(COMMITS)
    yield from recent_bodies(reader)


def count_commits(reader: Reader) -> int:
    """How many commits the file has."""
    return reader.count(COMMITS) + len(recent_bodies(reader))


def place_of(reader: Reader, commit: str) -> bytes | None:
    """Where the commit of an id lies, as line | seq."""
    found = reader.get(COMMIT_IDS, bytes.fromhex(commit))
    return next((place for place, body in recent_bodies(reader) if commit_id(body) == commit), None) if found is None else found


def places_between(reader: Reader, low: bytes, high: bytes) -> list[bytes]:
    """Where the commits lie whose ids are these or between them."""
    found = [place for _, place in reader.scan(COMMIT_IDS, start=low, stop=high + b"\0")]
    return found + [place for place, body in recent_bodies(reader) if low <= bytes.fromhex(commit_id(body)) <= high]


def every_id(reader: Reader) -> Iterator[Item]:
    """(id, nothing) of every commit, in order."""
    recent = sorted((bytes.fromhex(commit_id(body)), b"") for _, body in recent_bodies(reader))
    yield from merge_sorted(reader.scan(COMMIT_IDS, keys_only=True), recent)


def commits_of_table(reader: Reader, table: int, line: int, bound: int) -> Iterator[Commit]:
    """The commits of a line up to a bound that changed a table, newest first."""
    for place, body in reversed(recent_bodies(reader)):
        if LINE_SEQ.unpack(place)[0] == line and LINE_SEQ.unpack(place)[1] <= bound:
            commit = decode_commit(body)
            if any(change.table_id == table for change in commit.changes):
                yield commit
    start, stop = FEED_KEY.pack(table, line, 0, 0), FEED_KEY.pack(table, line, bound, _MOST_PLACES) + b"\0"
    last = None
    for key, _ in reader.scan(FEED, start=start, stop=stop, reverse=True, keys_only=True):
        seq = FEED_KEY.unpack(key)[2]
        if seq != last:
            last = seq
            found = reader.get(COMMITS, LINE_SEQ.pack(line, seq))
            if found is None:
                raise CorruptionError(f"the change feed names a commit at {line}, {seq}, which is not there", hint=CURE)
            yield decode_commit(found)


def _move_on(writer: Writer, recent: list[Item]) -> None:
    writer.put_many(COMMITS, recent)
    index(writer, recent)
    writer.delete_range(HEADS, RECENT)
