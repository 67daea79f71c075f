"""Branches: names that move. Making one, listing, renaming, deleting, protecting, moving back, and sweeping what no name needs any more."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from mlstore.engine import audit, limits
from mlstore.engine.branching.ancestry import reach
from mlstore.engine.branching.changed import changed_keys
from mlstore.engine.branching.flattening import flatten
from mlstore.engine.catalog import load_catalog
from mlstore.engine.history import online
from mlstore.engine.session import WriteContext
from mlstore.engine.versions import (
    LIVE,
    MAIN,
    REFS,
    Scope,
    branch_ref,
    branch_scope,
    check_new_name,
    create_line,
    head,
    line_scope,
    named,
    newest,
    put_ref,
    resolve,
    scope_of,
    take_numbers,
)
from mlstore.errors import ReadOnlyError, UsageError
from mlstore.format.keymerge import merge_keys
from mlstore.format.manifest import EPOCH, Commit, Ref, decode_fields, encode_fields
from mlstore.format.packed import FixedFields
from mlstore.storage.keyspace import declare
from mlstore.storage.transaction import Reader, Writer

REFLOG = declare("reflog")  # number -> what was done to a branch, when and by whom, and where its head was before and after

_NUMBER = FixedFields(">Q")


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch: its name, newest commit (None: nothing was committed), when it was made, and whether it is protected."""

    name: str
    head: Commit | None
    created: datetime
    is_protected: bool
    message: str


@dataclass(frozen=True, slots=True)
class RefMove:
    """One entry of the reflog: what was done to a branch (create, rename, delete, rollback, merge), and its head before and after."""

    number: int
    time: datetime
    author: str
    action: str
    branch: str
    before: str
    after: str
    message: str
    line: int  # where the branch stood before


def create_branch(context: WriteContext, name: str, commit: Commit | None, *, author: str, message: str) -> None:
    """Name a new line that begins at a commit; None: with nothing."""
    writer = context.writer
    check_new_name(writer, name)
    scope = fork(context, commit)
    put_ref(writer, name, Ref("branch", scope.line, 0, "", context.now_us, message))
    log_move(context, "create", name, None, commit, author=author, message=message)


def fork(context: WriteContext, commit: Commit | None) -> Scope:
    """A new line that sees what a commit saw. The line forked keeps its online rows as they were then."""
    writer = context.writer
    if commit is None:
        return create_line(writer, None)
    place = scope_of(writer, commit)
    scope = create_line(writer, place)
    last = head(writer, place.line)
    if last is not None and last.seq > commit.seq:
        _keep_online(context, place)
    return scope


def list_branches(reader: Reader) -> list[Branch]:
    """All branches by name."""
    return [
        Branch(
            name,
            newest(reader, line_scope(reader, ref.line)),
            EPOCH + timedelta(microseconds=ref.created_us),
            ref.is_protected,
            ref.message,
        )
        for name, ref in named(reader, "branch")
    ]


def rename_branch(context: WriteContext, name: str, new_name: str, *, author: str) -> None:
    """Give a branch another name."""
    ref = _changeable(context.writer, name, "renamed")
    check_new_name(context.writer, new_name)
    commit = newest(context.writer, line_scope(context.writer, ref.line))
    log_move(context, "rename", name, commit, commit, author=author, message=f"to {new_name}", new_name=new_name)
    put_ref(context.writer, new_name, ref)
    context.writer.delete(REFS, name.encode())


def delete_branch(context: WriteContext, name: str, *, author: str) -> None:
    """Take a branch's name away. Its commits stay readable by id for the grace period."""
    ref = _changeable(context.writer, name, "deleted")
    commit = newest(context.writer, line_scope(context.writer, ref.line))
    log_move(context, "delete", name, commit, None, author=author, message="")
    context.writer.delete(REFS, name.encode())
    take_numbers(context.writer, "catalog")


def protect_branch(context: WriteContext, name: str, *, is_protected: bool, author: str) -> None:
    """Refuse, or allow again, to delete, rename or move back a branch."""
    writer, ref = context.writer, branch_ref(context.writer, name)
    commit = newest(writer, line_scope(writer, ref.line))
    action = audit.BRANCH + ("protect" if is_protected else "unprotect")
    audit.record_act(writer, action, name, time_us=context.now_us, author=author, before=commit, after=commit)
    put_ref(writer, name, replace(ref, is_protected=is_protected))


def roll_back(context: WriteContext, name: str, to: str | date | Commit, *, author: str, message: str) -> Commit:
    """Move a branch back to one of its versions; see Store.rollback."""
    require_unprotected(context.reader, name, "rolled back")
    commit = resolve(context.reader, context.scope, to)
    if commit.seq > reach(context.reader, context.scope).get(commit.line, -1):
        raise UsageError(f"commit {commit.id[:12]} is not part of branch {name!r}", hint="history() lists what is; merge() brings in more")
    if newest(context.reader, context.scope) != commit:
        move_branch(context, name, commit, "rollback", author=author, message=message)
    return commit


def move_branch(context: WriteContext, name: str, commit: Commit, action: str, *, author: str, message: str) -> None:
    """Let a branch stand at a commit, on a new line: what it wrote since stays where it is, and is seen no more."""
    writer = context.writer
    ref = branch_ref(writer, name)
    before = newest(writer, branch_scope(writer, name))
    scope = fork(context, commit)
    log_move(context, action, name, before, commit, author=author, message=message)
    put_ref(writer, name, replace(ref, line=scope.line))
    if len(scope.ancestry) >= limits.MAX_LAYERS:
        flatten(replace(context, scope=scope, catalog=load_catalog(writer, scope)), 1)


def log_move(
    context: WriteContext,
    action: str,
    name: str,
    before: Commit | None,
    after: Commit | None,
    *,
    author: str,
    message: str,
    new_name: str | None = None,
) -> None:
    """Write down what happens to a branch, here and in the audit. Called before its name moves."""
    audit.record_act(
        context.writer,
        audit.BRANCH + action,
        name,
        time_us=context.now_us,
        author=author,
        before=before,
        after=after,
        message=message,
        details={} if new_name is None else {audit.NEW_NAME: new_name},
    )
    number = take_numbers(context.writer, "reflog")
    line = branch_ref(context.writer, name).line if action != "create" else 0
    ids = ["" if commit is None else commit.id for commit in (before, after)]
    context.writer.put(REFLOG, _NUMBER.pack(number), encode_fields([context.now_us, author, action, name, *ids, message, line]))


def reflog(reader: Reader) -> Iterator[RefMove]:
    """What was done to branches, newest first."""
    for key, packed in reader.scan(REFLOG, reverse=True):
        time_us, *rest = decode_fields(packed, int, str, str, str, str, str, str, int)
        yield RefMove(_NUMBER.unpack(key)[0], EPOCH + timedelta(microseconds=time_us), *rest)


def require_unprotected(reader: Reader, name: str, what: str) -> Ref:
    """The branch, unless it is protected."""
    ref = branch_ref(reader, name)
    if ref.is_protected:
        raise ReadOnlyError(f"branch {name!r} is protected and cannot be {what}", hint=f"store.protect_branch({name!r}, protected=False)")
    return ref


def _changeable(writer: Writer, name: str, what: str) -> Ref:
    if name == MAIN:
        raise UsageError(f"branch {MAIN!r} cannot be {what}", hint="it is where ml.open(path) stands")
    return require_unprotected(writer, name, what)


def _keep_online(context: WriteContext, place: Scope) -> None:
    """Keep the online rows of a past version that its line has changed since: O(what changed)."""
    past, present = context.at(place), context.at(replace(place, bound=LIVE))
    for relation in past.catalog.relations():
        if not relation.layout.is_online:
            continue
        history = past.history(relation)
        # A row that came and went since is the same at both ends; what a fork in between saw of it is kept, and must not answer for us.
        parts = changed_keys(history, present.history(relation)), online.kept_keys(context.reader, relation, place.line, place.bound)
        keys = merge_keys(parts)
        for start in range(0, len(keys), limits.BATCH_ROWS):
            part = keys.slice(start, min(start + limits.BATCH_ROWS, len(keys)))
            found, rows = online.latest_rows(history, part)
            kept = [row if there else None for row, there in zip(rows, found, strict=True)]
            online.keep(context.writer, relation, place.line, place.bound, zip(part.encoded(), kept, strict=True))
