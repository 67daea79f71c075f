"""Salvage: everything readable of a damaged file, taken into a fresh one, with a report of what was lost.

Records are found without LMDB, put into the new file as they are, and then mended until they fit together: what says nothing that can
be is dropped, what only repeats or counts is made anew. The damaged file is only read.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from mlstore.engine.history import extents
from mlstore.engine.keeping import inspection, mending, mendtables
from mlstore.engine.session import Session, WriteContext
from mlstore.engine.versions import MAIN, all_scopes, find_ref
from mlstore.errors import AlreadyExistsError, MlstoreError
from mlstore.format.header import HEADER_KEY, decode_header
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import META, declared
from mlstore.storage.scavenge import Record, Scavenger

Clock = Callable[[], int]

BATCH_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class SalvageReport:
    """What was taken over, what was `lost`, and what `verify` still finds in the new file: `problems`, such as a commit that is gone.

    `rows` by view and table counts what can be read now on the main branch.
    """

    records: int
    rows: dict[str, int]
    lost: tuple[str, ...]
    problems: tuple[str, ...]

    def __str__(self) -> str:
        taken = ", ".join(f"{count} rows of {name}" for name, count in self.rows.items()) or "no rows"
        lines = [f"taken over: {self.records} records, {taken}"]
        lines += [f"lost: {loss}" for loss in self.lost] or ["lost: nothing"]
        return "\n".join([*lines, *(f"still wrong: {problem}" for problem in self.problems)])


def salvage(path: str | os.PathLike[str], out: str | os.PathLike[str], *, writer_version: str, clock_us: Clock) -> SalvageReport:
    """Take everything readable out of a file into a new one; see mlstore.salvage."""
    target = os.fspath(out)
    if os.path.lexists(target):
        raise AlreadyExistsError(f"{target}: is there already", hint="name a new file: salvage never replaces one")
    scavenger = Scavenger(os.fspath(path))
    records = scavenger.records()
    first = next(records, None)  # before anything is made: a file in which nothing can be read is refused
    environment = Environment.open(target, durability="normal", writer_version=writer_version)
    try:
        taken = _take_over(environment, [] if first is None else [first], records)
        lost = [*scavenger.losses, *_mend(environment, clock_us)]
        report = _look(environment, clock_us, taken, lost)
        environment.close()
    except BaseException:
        environment.close()
        for made in (target, f"{target}-lock"):
            with suppress(OSError):
                os.unlink(made)
        raise
    return report


def _take_over(environment: Environment, first: Iterable[Record], rest: Iterable[Record]) -> int:
    """Put the records into the new file, some MB in each transaction; how many."""
    spaces, count = {space.name: space for space in declared()}, 0
    batches = [first, rest]
    for batch in batches:
        remaining = iter(batch)
        record = next(remaining, None)
        while record is not None:
            with environment.writer() as writer:
                while record is not None and writer.dirty_bytes < BATCH_BYTES:
                    name, key, value = record
                    if name != META.name or _is_header(key, value):
                        writer.put(spaces[name], key, value)
                        count += 1
                    record = next(remaining, None)
    return count


def _is_header(key: bytes, value: bytes) -> bool:
    try:
        return key == HEADER_KEY and bool(decode_header(value))
    except MlstoreError:
        return False


def _mend(environment: Environment, clock_us: Clock) -> list[str]:
    """Let the records fit together; what was lost by that."""
    with environment.writer() as writer:
        lost = list(mending.mend_records(writer, clock_us()))
    session = Session.begin(environment, MAIN, clock_us)
    with session.writing() as context:
        lost += extents.recount(context.writer)
        lost += [loss for place in _places(context) for loss in mendtables.mend_tables(place)]
        lost += mendtables.drop_strangers(context)
    with session.writing() as context:
        for place in _places(context):
            lost += mendtables.mend_answers(place)
    return lost


def _places(context: WriteContext) -> list[WriteContext]:
    """The end of every line, parents first."""
    scopes = sorted(all_scopes(context.writer), key=lambda scope: len(scope.ancestry))
    return [mendtables.on_line(context, scope) for scope in scopes]


def _look(environment: Environment, clock_us: Clock, taken: int, lost: list[str]) -> SalvageReport:
    session = Session.begin(environment, MAIN, clock_us)
    with session.reading() as context:
        problems = inspection.verify(context).problems if find_ref(context.reader, MAIN) else ()
        rows = {relation.label: context.history(relation).state().rows for relation in context.catalog.relations()}
    return SalvageReport(taken, rows, tuple(dict.fromkeys(lost)), problems)
