"""The retain journey: which versions stay readable, what of the file only the others saw, and letting that go.

One transaction writes down which versions stay, so that from its commit on no other can be read; then the segments that hold rows
which only those saw are written anew, in transactions of bounded size. What a kill leaves undone, merges and `optimize` do.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlstore.engine import limits
from mlstore.engine.audit import find_commit, record_act
from mlstore.engine.branching.branches import reflog
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import ERASED, Int64
from mlstore.engine.history.offline import load_state, put_state
from mlstore.engine.history.tail import CLOCKS_BYTES, DELETED, TAIL, decode_clocks, tail_prefix
from mlstore.engine.keeping.lines import needed_lines, sweep_lines
from mlstore.engine.keeping.rewriting import count_gone, each_line, rewrite_wasteful
from mlstore.engine.ledger import LINE_SEQ, every_body
from mlstore.engine.retained import Span, Spans, join_spans, load_spans, put_spans
from mlstore.engine.session import ReadContext, Session, WriteContext
from mlstore.engine.versions import LIVE, MERGES, Scope, all_scopes, commits, line_scope, named, tags, take_numbers
from mlstore.engine.writing import upkeep
from mlstore.engine.writing.upkeep import Mask
from mlstore.schema.durations import format_duration
from mlstore.storage.transaction import Reader

RETAIN = "retain"


@dataclass(frozen=True, slots=True)
class Policy:
    """Which commits of each branch stay readable: the newest `last` (at least 1), and those made in the last `within_us`."""

    last: int
    within_us: int | None

    def __str__(self) -> str:
        span = "" if self.within_us is None else f", within {format_duration(self.within_us * 1000)}"
        return f"last {self.last}{span}"


@dataclass(frozen=True, slots=True)
class RetainPlan:
    """The versions of each line that stay readable, and how many versions stay and go; `rows`: those only the latter saw, by table."""

    spans: dict[int, Spans]
    kept: int
    dropped: int
    rows: dict[str, int]


@dataclass(frozen=True, slots=True)
class RetainReport:
    """What was let go, or would be (`is_done` false: a dry run).

    versions_kept, versions_dropped: commits that can be read still, and those that cannot any more. rows: by view or table, the rows
    that only dropped versions saw. `segments_held`: segments out of every version that arrays of some process still show.
    """

    versions_kept: int
    versions_dropped: int
    rows: dict[str, int]
    segments_rewritten: int
    segments_held: int
    is_done: bool

    def __str__(self) -> str:
        doing = ("dropped", "left") if self.is_done else ("would be dropped", "would leave")
        return (
            f"{self.versions_kept:,} versions stay, {self.versions_dropped:,} {doing[0]}; "
            f"{sum(self.rows.values()):,} rows {doing[1]}, {self.segments_rewritten:,} segments rewritten"
        )


def retain(session: Session, policy: Policy, *, dry_run: bool, author: str, message: str) -> RetainReport:
    """Let old versions go; see Store.retain."""
    if dry_run:
        with session.reading() as context:
            plan = plan_retention(context, policy, session.clock_us())
        return RetainReport(plan.kept, plan.dropped, plan.rows, 0, 0, is_done=False)
    with session.writing() as context:
        sweep_lines(context)
        plan = plan_retention(context, policy, context.now_us)
        for line, spans in plan.spans.items():
            put_spans(context.writer, line, spans)
        for place in each_line(context):
            _cut_tails(place)
        details = {"rows": sum(plan.rows.values()), "versions kept": plan.kept, "versions dropped": plan.dropped}
        record_act(context.writer, RETAIN, str(policy), time_us=context.now_us, author=author, message=message, details=details)
        take_numbers(context.writer, "catalog")  # handles on old versions look again, and are refused
    rewritten = rewrite_wasteful(session)
    with session.reading() as fresh:
        held = fresh.reader.count(upkeep.TRASH)
    return RetainReport(plan.kept, plan.dropped, plan.rows, rewritten, held, is_done=True)


def plan_retention(context: ReadContext, policy: Policy, now_us: int) -> RetainPlan:
    """What stays and what goes. Nothing is changed, and what was let go before never comes back."""
    reader, lines = context.reader, needed_lines(context.reader, now_us)
    found = _wanted(reader, policy, lines, now_us)
    before = {line: load_spans(reader, line) for line in lines}
    spans = {}
    for line, wanted in found.items():
        old = before[line]
        spans[line] = join_spans(wanted) if old is None else join_spans(wanted).within(old)
    kept = readable = 0
    for key, _ in every_body(reader):
        line, seq = LINE_SEQ.unpack(key)
        if line in lines:
            old, new = before[line], spans.get(line, before[line])
            readable += old is None or old.holds(seq)
            kept += new is None or new.holds(seq)
    rows: Counter[str] = Counter()
    for place in each_line(context):
        if place.scope.line in spans:
            rows.update(dict(_count_unseen(place, spans[place.scope.line])))
    return RetainPlan(spans, kept, readable - kept, dict(rows))


def find_lost(reader: Reader) -> list[str]:
    """Snapshots and forks whose rows may be gone because their versions are not retained."""
    problems = []
    for name, ref in tags(reader).items():
        spans = load_spans(reader, ref.line)
        if spans is not None and not spans.holds(ref.seq):
            problems.append(f"snapshot {name!r} names a version that was let go")
    for scope in all_scopes(reader):
        for line, fork in scope.told:
            spans = load_spans(reader, line)
            if spans is not None and not spans.holds(fork):
                problems.append(f"line {scope.line} forks from a version of line {line} that was let go")
    return problems


def _wanted(reader: Reader, policy: Policy, lines: set[int], now_us: int) -> dict[int, list[Span]]:
    """The bounds that must stay readable, by line: the newest of each branch, snapshots, forks, heads in their grace, bases of merges."""
    found: dict[int, list[Span]] = defaultdict(list)
    for _, ref in named(reader, "branch"):
        for line, span in _newest(reader, line_scope(reader, ref.line), policy, now_us):
            found[line].append(span)
    for ref in tags(reader).values():
        found[ref.line].append((ref.seq, ref.seq))
    for move in reflog(reader):
        if move.time.timestamp() * 1_000_000 <= now_us - limits.GRACE_US:
            break
        commit = find_commit(reader, move.before) if move.before else None
        if commit is not None and commit.line in lines:
            found[commit.line].append((commit.seq, commit.seq))
    for line in lines:
        for parent, fork in line_scope(reader, line).told:
            found[parent].append((fork, fork))
    _add_merged(reader, found, lines)
    return found


def _newest(reader: Reader, scope: Scope, policy: Policy, now_us: int) -> Iterator[tuple[int, Span]]:
    """The commits of a branch that the policy keeps, as one span of each of its lines."""
    left, since = policy.last, LIVE if policy.within_us is None else now_us - policy.within_us
    oldest = {scope.line: 0}  # a line without commits of its own: all that will come
    for commit in commits(reader, scope):
        if left <= 0 and commit.time_us < since:
            break
        oldest[commit.line] = commit.seq
        left -= 1
    for line, bound in scope.lineage():
        if line in oldest:
            yield line, (oldest[line], bound)


def _add_merged(reader: Reader, found: dict[int, list[Span]], lines: set[int]) -> None:
    """What a retained version has merged, the newest of each line, is the base of the next merge, which must see what was deleted since."""
    waiting = [(line, span) for line, spans in found.items() for span in spans] if reader.count(MERGES) else []
    while waiting:
        line, (first, last) = waiting.pop()
        older: dict[int, int] = {}
        newer: list[tuple[int, int]] = []
        for key, merged in reader.scan(MERGES, start=LINE_SEQ.pack(line, 0), stop=LINE_SEQ.pack(line, last) + b"\0"):
            other, bound = LINE_SEQ.unpack(merged)
            if LINE_SEQ.unpack(key)[1] < first:
                older[other] = bound
            else:
                newer.append((other, bound))
        for other, bound in (*older.items(), *newer):
            span = bound, bound
            if other in lines and span not in found[other]:
                found[other].append(span)
                waiting.append((other, span))


def _count_unseen(place: ReadContext, spans: Spans) -> Iterator[tuple[str, int]]:
    """By table, the rows that one line wrote and no retained version sees."""

    def unseen(_: Int64, seq: Int64, deleted: Int64) -> Mask:
        gone: Mask = spans.unseen(seq, deleted) & (deleted != ERASED)
        return gone

    for relation in place.catalog.stores():
        line = place.scope.line
        in_segments = sum(count for _, count in count_gone(place.reader, relation, line, unseen, spans))
        in_tail = sum(bool(gone) for _, _, gone in _tail_rows(place.reader, relation, line, unseen))
        if in_segments or in_tail:
            yield relation.label, in_segments + in_tail


def _cut_tails(context: WriteContext) -> None:
    """Remove the rows of a line's tails that no retained version sees."""
    writer, line = context.writer, context.scope.line
    for relation in context.catalog.stores():
        droppable = upkeep.droppable_rows(context, relation, context.now_us, load_spans(writer, line))
        gone = [(record, size) for record, size, is_gone in _tail_rows(writer, relation, line, droppable) if is_gone]
        if gone:
            writer.delete_many(TAIL, [record for record, _ in gone])
            state = load_state(writer, relation.table, line)
            size = state.tail_bytes - sum(size for _, size in gone)
            put_state(writer, relation.table, line, state.changed(tail_rows=state.tail_rows - len(gone), tail_bytes=size))


def _tail_rows(reader: Reader, relation: Relation, line: int, droppable: upkeep.Droppable) -> list[tuple[bytes, int, bool]]:
    """Of each row of a tail its record, its bytes, and whether it may go."""
    records = list(reader.scan_prefix(TAIL, tail_prefix(relation.table, line)))
    time, _, seq = decode_clocks(b"".join(record[-CLOCKS_BYTES:] for record, _ in records))
    deleted = np.frombuffer(b"".join(value[: DELETED.size] for _, value in records), "<i8").astype(np.int64)
    sizes = (len(value) - DELETED.size for _, value in records)
    return list(zip((record for record, _ in records), sizes, droppable(time, seq, deleted).tolist(), strict=True))
