"""Versions: what the file was at each commit. A version is a bound on the sequence of its rows.

Commits form a Merkle chain per line; refs name commits: a branch moves, a tag never does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime

from mlstore.engine import ledger
from mlstore.engine.ledger import LINE_SEQ
from mlstore.engine.retained import load_spans
from mlstore.errors import AlreadyExistsError, CorruptionError, UnknownVersionError, UsageError
from mlstore.format.manifest import (
    Commit,
    Pairs,
    Ref,
    TableChange,
    commit_id,
    decode_ancestry,
    decode_commit,
    decode_record,
    encode_ancestry,
    encode_record,
    seal_commit,
)
from mlstore.format.packed import CURE, FixedFields
from mlstore.schema.timestamps import instant_ns
from mlstore.storage.keyspace import declare
from mlstore.storage.transaction import Reader, Writer

COUNTERS = ledger.HEADS
REFS = declare("refs")
LINES = declare("lines")
FORKS = declare("forks")  # line | seq | line that sees it up to there: whose rows must be kept as they were
MERGES = declare("merges")  # line | seq of a commit that merged -> line | seq of the commit merged

Version = str | date | Commit  # a name, a commit id (or its start), a time, a commit

MAIN = "main"
FIRST_LINE = 1
LIVE = 2**63 - 1  # the bound of a handle that sees whatever is newest
SHORTEST_ID = 6

_U64 = FixedFields(">Q")
_LINE = FixedFields(">I")
FORK_KEY = FixedFields(">IQI")


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a handle stands: the rows of `line` up to `bound`, below them those of its ancestors up to where it forked.

    `told`: all the lines it descends from, whose commits and definitions it has; without, the ancestors. They are more once a nearer line
    has taken over the rows of some.
    """

    line: int
    bound: int = LIVE
    ancestry: Pairs = ()
    told: Pairs = ()

    @property
    def is_live(self) -> bool:
        return self.bound == LIVE

    def layers(self) -> Iterator[tuple[int, int]]:
        yield self.line, self.bound
        yield from ((line, min(fork, self.bound)) for line, fork in self.ancestry)

    def lineage(self) -> Iterator[tuple[int, int]]:
        """The lines whose commits are part of what is seen, and up to which: the own first."""
        yield self.line, self.bound
        yield from ((line, min(fork, self.bound)) for line, fork in self.told or self.ancestry)

    def holds(self, line: int, seq: int) -> bool:
        """Whether what a line wrote at a sequence is seen from here."""
        return any(line == layer and seq <= bound for layer, bound in self.lineage())

    def author_of(self, seq: int) -> int:
        """The line that a row seen from here was written, or deleted, on: the farthest that goes as far."""
        return [line for line, bound in self.lineage() if seq <= bound][-1]


def take_numbers(writer: Writer, counter: str, count: int = 1) -> int:
    """The first of `count` numbers that nobody had before."""
    last = read_counter(writer, counter)
    writer.put(COUNTERS, counter.encode(), _U64.pack(last + count))
    return last + 1


def read_counter(reader: Reader, counter: str) -> int:
    packed = reader.get(COUNTERS, counter.encode())
    return 0 if packed is None else int(_U64.unpack(packed)[0])


def commit_time(reader: Reader, now_us: int) -> int:
    """The time of the commit under way: never before the last one's, also when the clock was set back."""
    return max(now_us, read_counter(reader, "time"))


def record_commit(
    writer: Writer,
    scope: Scope,
    changes: tuple[TableChange, ...],
    *,
    author: str,
    message: str,
    time_us: int,
    merged: Commit | None = None,
) -> Commit:
    """Append a commit to its line, and so move the line's branch to it; `merged`: the commit whose changes it brings in."""
    seq, line = take_numbers(writer, "seq"), scope.line
    recent = ledger.recent_bodies(writer)
    newest_body = ledger.newest_in(recent, line)
    before = newest_id(writer, scope) if newest_body is None else commit_id(newest_body)
    parents = tuple(parent for parent in (before, None if merged is None else merged.id) if parent is not None)
    if merged is not None:
        writer.put(MERGES, LINE_SEQ.pack(line, seq), LINE_SEQ.pack(merged.line, merged.seq))
    commit, body = seal_commit(seq=seq, line=line, parents=parents, author=author, message=message, time_us=time_us, changes=changes)
    writer.put(COUNTERS, b"time", _U64.pack(time_us))
    ledger.enter(writer, line, seq, body, recent)
    return commit


def is_indexed(reader: Reader, commit: Commit) -> bool:
    """Whether the commit's id, which is the hash of its content, was given to it when it was made."""
    return ledger.place_of(reader, commit.id) == LINE_SEQ.pack(commit.line, commit.seq)


def head(reader: Reader, line: int, bound: int = LIVE) -> Commit | None:
    """The newest commit of a line, up to a bound."""
    found = ledger.newest_body(reader, line, bound)
    return None if found is None else decode_commit(found)


def newest_id(reader: Reader, scope: Scope) -> str | None:
    """The id of the newest commit seen from a place."""
    for line, bound in scope.lineage():
        found = ledger.newest_body(reader, line, bound)
        if found is not None:
            return commit_id(found)
    return None


def newest(reader: Reader, scope: Scope) -> Commit | None:
    """The newest commit seen from a place: of its line, or of where that forked."""
    return next((found for line, bound in scope.lineage() if (found := head(reader, line, bound)) is not None), None)


def commits(reader: Reader, scope: Scope) -> Iterator[Commit]:
    """The commits a handle can see, newest first."""
    for line, bound in scope.lineage():
        yield from map(decode_commit, ledger.bodies(reader, line, bound))


def resolve(reader: Reader, scope: Scope, version: Version) -> Commit:
    """The commit meant by a snapshot's or branch's name, a commit id (or its start), or a time."""
    if isinstance(version, Commit):
        return version
    if isinstance(version, str):
        return _named(reader, scope, version)
    return _as_of_time(reader, scope, instant_ns(version) // 1000, version)


def line_scope(reader: Reader, line: int, bound: int = LIVE) -> Scope:
    """The place of a line, up to a bound."""
    packed = reader.get(LINES, _LINE.pack(line))
    if packed is None:
        raise UnknownVersionError("the rows of this version are gone: no name needed them", hint="name what shall stay with snapshot()")
    return _scope(line, bound, packed)


def _scope(line: int, bound: int, packed: bytes) -> Scope:
    told, seen = decode_ancestry(packed)
    return Scope(line, bound, seen, told)


def has_line(reader: Reader, line: int) -> bool:
    """Whether the rows of a line are there still."""
    return reader.get(LINES, _LINE.pack(line)) is not None


def scope_of(reader: Reader, commit: Commit) -> Scope:
    """The place of a version."""
    scope = line_scope(reader, commit.line, commit.seq)
    require_retained(reader, scope, f"commit {commit.id[:12]} of {commit.time:%Y-%m-%d %H:%M:%S} UTC")
    return scope


def is_retained(reader: Reader, commit: Commit) -> bool:
    """Whether all rows of a version are there still, if its line is."""
    spans = load_spans(reader, commit.line)
    return spans is None or spans.holds(commit.seq)


def require_retained(reader: Reader, scope: Scope, name: str) -> None:
    """Refuse a version that was let go: some of its rows may be gone."""
    spans = load_spans(reader, scope.line)
    if spans is not None and not spans.holds(scope.bound):
        raise UnknownVersionError(f"{name} was let go by retain()", hint=_retained_hint(reader))


def _retained_hint(reader: Reader) -> str:
    known = ", ".join(sorted(tags(reader))[:10])
    return f"what shall stay is named with snapshot(); snapshots: {known or 'none yet'}"


def create_line(writer: Writer, origin: Scope | None) -> Scope:
    """A new line that sees what is seen from a place; None: nothing."""
    told, seen = ((), ()) if origin is None else (tuple(origin.lineage()), tuple(origin.layers()))
    scope = Scope(take_numbers(writer, "line"), LIVE, seen, told)
    put_line(writer, scope)
    for parent, fork in seen:
        writer.put(FORKS, FORK_KEY.pack(parent, fork, scope.line), b"")
    return scope


def put_line(writer: Writer, scope: Scope) -> None:
    """Write down what a line descends from, and where the rows of that lie."""
    writer.put(LINES, _LINE.pack(scope.line), encode_ancestry(scope.told, scope.ancestry))


def all_scopes(reader: Reader) -> Iterator[Scope]:
    """The end of every line of the file."""
    for key, packed in reader.scan(LINES):
        yield _scope(int(_LINE.unpack(key)[0]), LIVE, packed)


def newest_fork(reader: Reader, line: int) -> int | None:
    """The greatest sequence up to which another line sees this one."""
    found = reader.last(FORKS, FORK_KEY.pack(line, 0, 0), FORK_KEY.pack(line + 1, 0, 0))
    return None if found is None else int(FORK_KEY.unpack(found[0])[1])


def forks(reader: Reader, line: int) -> list[tuple[int, int]]:
    """(sequence, line that sees this one up to there) of every fork, ascending."""
    return [FORK_KEY.unpack(key)[1:] for key, _ in reader.scan_prefix(FORKS, _LINE.pack(line))]


def find_ref(reader: Reader, name: str) -> Ref | None:
    """What a name points at."""
    packed = reader.get(REFS, name.encode()[:500]) if name else None
    return None if packed is None else decode_record(Ref, packed)


def put_ref(writer: Writer, name: str, ref: Ref) -> None:
    """Let a name point at something; handles on a branch look again."""
    writer.put(REFS, name.encode(), encode_record(ref))
    if ref.kind == "branch":
        take_numbers(writer, "catalog")


def branch_ref(reader: Reader, name: str) -> Ref:
    """The branch of a name."""
    ref = find_ref(reader, name)
    if ref is None or ref.kind != "branch":
        known = ", ".join(other for other, _ in named(reader, "branch"))
        raise UnknownVersionError(f"no branch {name!r}", hint=f"branches: {known}; make one with store.branch({name!r})")
    return ref


def branch_scope(reader: Reader, name: str) -> Scope:
    """Where a handle on a branch stands."""
    return line_scope(reader, branch_ref(reader, name).line)


def create_tag(writer: Writer, scope: Scope, name: str, *, message: str, now_us: int) -> Commit:
    """Name the newest commit for good."""
    check_new_name(writer, name)
    commit = newest(writer, scope)
    if commit is None:
        raise UnknownVersionError("nothing was committed yet", hint="apply or write first")
    put_ref(writer, name, Ref("tag", commit.line, commit.seq, commit.id, now_us, message))
    return commit


def delete_tag(writer: Writer, name: str) -> Commit:
    """Take a snapshot's name away for good: it cannot come to mean another version. The commit it named."""
    ref = find_ref(writer, name)
    if ref is None or ref.kind != "tag":
        known = ", ".join(sorted(tags(writer))) or "none yet"
        raise UnknownVersionError(f"no snapshot {name!r}", hint=f"snapshots: {known}")
    put_ref(writer, name, replace(ref, kind="gone"))
    packed = ledger.body_at(writer, LINE_SEQ.pack(ref.line, ref.seq))
    assert packed is not None
    return decode_commit(packed)


def named(reader: Reader, kind: str) -> list[tuple[str, Ref]]:
    """All names of a kind, sorted."""
    refs = ((_text(name), decode_record(Ref, packed)) for name, packed in reader.scan(REFS))
    return [(name, ref) for name, ref in refs if ref.kind == kind]


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise CorruptionError(f"a name that is no text: {name!r}", hint=CURE) from error


def tags(reader: Reader) -> dict[str, Ref]:
    """All snapshots by name."""
    return dict(named(reader, "tag"))


def check_new_name(reader: Reader, name: str) -> None:
    """Refuse what cannot name a version, or does so already."""
    if not name or len(name) > 120 or name != name.strip() or any(not c.isprintable() or c in "/\\:@" for c in name):
        hint = "1 to 120 printable characters, none of / \\ : @"
        raise UsageError(f"{name!r} cannot name a snapshot or branch", hint=hint)
    ref = find_ref(reader, name)
    if ref is not None and ref.kind == "branch":
        raise AlreadyExistsError(f"there is a branch {name!r} already", hint=f"open it with store.checkout({name!r})")
    if ref is not None:
        told = "named a snapshot that was deleted" if ref.kind == "gone" else "names a version already"
        raise AlreadyExistsError(f"{name!r} {told}", hint="snapshots never move; choose another name")


def _named(reader: Reader, scope: Scope, name: str) -> Commit:
    ref = find_ref(reader, name)
    if ref is not None and ref.kind == "gone":
        raise UnknownVersionError(f"snapshot {name!r} was deleted", hint=f"it named commit {ref.commit[:12]}")
    if ref is not None:
        commit = newest(reader, line_scope(reader, ref.line, ref.seq if ref.kind == "tag" else LIVE))
        if commit is not None:
            return commit
    commit = _by_id(reader, name)
    if commit is not None:
        return commit
    known = ", ".join(sorted(tags(reader))) or "none yet"
    raise UnknownVersionError(f"no snapshot, branch or commit {name!r}", hint=f"snapshots: {known}; history() lists commits")


def _by_id(reader: Reader, text: str) -> Commit | None:
    if not SHORTEST_ID <= len(text) <= 32:
        return None
    try:
        low = bytes.fromhex(text + "0" * (32 - len(text)))
        high = bytes.fromhex(text + "f" * (32 - len(text)))
    except ValueError:
        return None
    found = ledger.places_between(reader, low, high)
    if len(found) > 1:
        raise UnknownVersionError(f"{text!r} begins {len(found)} commit ids", hint="give more of the id")
    packed = ledger.body_at(reader, found[0]) if found else None
    return None if packed is None else decode_commit(packed)


def _as_of_time(reader: Reader, scope: Scope, time_us: int, given: date) -> Commit:
    """The newest commit not after a time: times never fall along a line, so a seek by sequence can bisect."""
    for line, bound in scope.lineage():
        low, high = 0, min(bound, read_counter(reader, "seq"))
        while low < high:
            middle = (low + high + 1) // 2
            commit = head(reader, line, middle)
            if commit is None or commit.time_us <= time_us:
                low = middle
            else:
                high = commit.seq - 1
        commit = head(reader, line, low)
        if commit is not None and commit.time_us <= time_us:
            return commit
    oldest = ledger.first_body(reader, scope.line, 0)
    since = f"the oldest commit is of {decode_commit(oldest).time:%Y-%m-%d %H:%M:%S.%f} UTC" if oldest else "nothing was committed yet"
    kind = "time" if isinstance(given, datetime) else "date"
    raise UnknownVersionError(f"the store had no commit at the {kind} {given}", hint=since)
