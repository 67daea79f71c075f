"""The audit: who did what, and when. Commits tell of rows, acts of everything else; both are chains of hashes.

Invariants: an act is written by the transaction that does it; entries are only ever added; they hold no data of users.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date

import pyarrow as pa

from mlstore.engine.ledger import body_at, every_body, place_of
from mlstore.engine.session import ReadContext
from mlstore.engine.versions import MAIN, commits, named, resolve, tags, take_numbers
from mlstore.errors import UsageError
from mlstore.format.act import Act, decode_act, seal_act
from mlstore.format.manifest import ID_BYTES, Commit, decode_commit
from mlstore.format.packed import FixedFields
from mlstore.storage.keyspace import declare
from mlstore.storage.transaction import Reader, Writer

AUDIT = declare("audit")  # seq -> act; "head" -> id of the newest act

HEAD = b"head"
NEW_NAME = "new name"
SNAPSHOT = "snapshot"
SNAPSHOT_DELETE = "snapshot delete"
BRANCH = "branch "  # and what was done to it: create, rename, delete, protect, unprotect, rollback, merge

SCHEMA = pa.schema(
    [
        ("seq", pa.int64()),
        ("time", pa.timestamp("us", "UTC")),
        ("author", pa.string()),
        ("action", pa.string()),
        ("subject", pa.string()),
        ("rows", pa.int64()),
        ("before", pa.string()),
        ("after", pa.string()),
        ("message", pa.string()),
        ("id", pa.string()),
        ("parents", pa.list_(pa.string())),
    ]
)

_SEQ = FixedFields(">Q")
_REWRITTEN = "history was rewritten"

Fields = dict[str, object]


def record_act(
    writer: Writer,
    action: str,
    subject: str,
    *,
    time_us: int,
    author: str,
    before: Commit | None = None,
    after: Commit | None = None,
    message: str = "",
    details: Mapping[str, str | int] | None = None,
) -> Act:
    """Write down what this transaction does. `details` are counts and names, never data of users."""
    newest = writer.get(AUDIT, HEAD)
    act, packed = seal_act(
        seq=take_numbers(writer, "seq"),
        time_us=time_us,
        author=author,
        action=action,
        subject=subject,
        before="" if before is None else before.id,
        after="" if after is None else after.id,
        message=message,
        details=details or {},
        previous="" if newest is None else newest.hex(),
    )
    writer.put(AUDIT, _SEQ.pack(act.seq), packed)
    writer.put(AUDIT, HEAD, bytes.fromhex(act.id))
    return act


def list_acts(reader: Reader) -> Iterator[tuple[int, Act]]:
    """All acts with the sequence they are kept under, oldest first."""
    for key, packed in reader.scan(AUDIT):
        if len(key) == _SEQ.size:
            yield _SEQ.unpack(key)[0], decode_act(packed)


def read_audit(context: ReadContext, *, since: str | date | Commit | None) -> pa.Table:
    """Everything that was done to the file, on every branch, in the order of doing; see Store.audit."""
    after = -1 if since is None else resolve(context.reader, context.scope, since).seq
    entries = [_act_fields(act) for _, act in list_acts(context.reader)]
    entries += [_commit_fields(decode_commit(packed)) for _, packed in every_body(context.reader)]
    chosen = [entry for entry in entries if int(str(entry["seq"])) > after]
    chosen.sort(key=lambda entry: int(str(entry["seq"])))
    return pa.Table.from_pylist(chosen, SCHEMA)


def find_breaks(reader: Reader, checks: Counter[str]) -> list[str]:
    """Where the chain of acts is broken, and names that do not stand where the acts say."""
    problems, previous = [], ""
    said: dict[str, str] = {}
    branches = {MAIN}
    for seq, act in list_acts(reader):
        checks["audit entries"] += 1
        if act.seq != seq or act.previous != previous:
            problems.append(f"audit entry {seq} does not follow the one before it: {_REWRITTEN}")
        if act.after and find_commit(reader, act.after) is None:
            problems.append(f"audit entry {seq} names a commit {act.after[:12]} that does not exist: {_REWRITTEN}")
        previous = act.id
        if act.action == SNAPSHOT:
            said[act.subject] = act.after
        elif act.action == SNAPSHOT_DELETE:
            said.pop(act.subject, None)
        branches = _branches_after(act, branches)
    newest = reader.get(AUDIT, HEAD)
    if previous != ("" if newest is None else newest.hex()):
        problems.append(f"the newest audit entry is not the one that was written last: {_REWRITTEN}")
    snapshots = {name: ref.commit for name, ref in tags(reader).items()}
    for name in sorted(said.keys() | snapshots.keys()):
        if said.get(name) != snapshots.get(name):
            problems.append(f"snapshot {name!r} does not name what the audit says: it was made, moved or removed behind its back")
    for name in sorted(branches ^ {name for name, _ in named(reader, "branch")}):
        problems.append(f"branch {name!r} was made or removed behind the back of the audit")
    return problems


def _branches_after(act: Act, branches: set[str]) -> set[str]:
    """The names of branches once an act is done."""
    if act.action == BRANCH + "create":
        return branches | {act.subject}
    if act.action == BRANCH + "rename":
        return branches - {act.subject} | {str(act.details[NEW_NAME])}
    return branches - {act.subject} if act.action == BRANCH + "delete" else branches


def prove(context: ReadContext, trusted_head: str | Commit) -> list[str]:
    """Why a commit or act seen before is not part of what led to this version; nothing if it is, unchanged and with all before it."""
    trusted = trusted_head.id if isinstance(trusted_head, Commit) else trusted_head.lower()
    if len(trusted) != 2 * ID_BYTES or not all(letter in "0123456789abcdef" for letter in trusted):
        raise UsageError(
            f"trusted_head={trusted_head!r} is no whole id", hint=f"give all {2 * ID_BYTES} digits: the first ones prove nothing"
        )
    if any(act.id == trusted for _, act in list_acts(context.reader)):
        return []  # find_breaks has walked all acts
    newest = next(commits(context.reader, context.scope), None)
    found, problems = False, []
    for commit_id, commit in _ancestry(context.reader, "" if newest is None else newest.id):
        found |= commit_id == trusted
        if commit is None:
            problems.append(f"commit {commit_id[:12]} is missing, or not what was committed: {_REWRITTEN}")
    if not found:
        problems.append(f"the trusted commit {trusted[:12]} is not part of what led to this version: {_REWRITTEN}, or moved back")
    return problems


def find_commit(reader: Reader, commit_id: str) -> Commit | None:
    """The commit of an id, if its content is what the id says."""
    place = place_of(reader, commit_id)
    packed = None if place is None else body_at(reader, place)
    commit = None if packed is None else decode_commit(packed)
    return commit if commit is not None and commit.id == commit_id else None


def _ancestry(reader: Reader, commit_id: str) -> Iterator[tuple[str, Commit | None]]:
    """A commit and all that led to it, each once; None in place of one that is not there as it was."""
    waiting, seen = [commit_id] if commit_id else [], set[str]()
    while waiting:
        commit_id = waiting.pop()
        if commit_id in seen:
            continue
        seen.add(commit_id)
        commit = find_commit(reader, commit_id)
        yield commit_id, commit
        waiting += () if commit is None else commit.parents


def _act_fields(act: Act) -> Fields:
    told = {"seq": act.seq, "time": act.time_us, "author": act.author, "action": act.action, "subject": act.subject}
    return told | {
        "rows": act.details.get("rows"),
        "before": act.before or None,
        "after": act.after or None,
        "message": act.message,
        "id": act.id,
        "parents": [act.previous] if act.previous else [],
    }


def _commit_fields(commit: Commit) -> Fields:
    return {
        "seq": commit.seq,
        "time": commit.time_us,
        "author": commit.author,
        "action": "commit",
        "subject": ", ".join(f"{change.op} {change.table}" for change in commit.changes),
        "rows": sum(change.rows for change in commit.changes),
        "before": next(iter(commit.parents), None),
        "after": commit.id,
        "message": commit.message,
        "id": commit.id,
        "parents": list(commit.parents),
    }
