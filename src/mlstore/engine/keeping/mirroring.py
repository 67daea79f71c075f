"""The mirror journey: what another file has and this one lacks comes here, record by record, until the two are equal.

Extents never change under their key, so only those that are missing travel, ahead and in transactions of bounded size; a kill leaves
some that nobody names. One last transaction brings all small records to what they are at the origin: readers see the file before or after.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow as pa

from mlstore.engine import limits
from mlstore.engine.history.extents import EXTENTS, KEY
from mlstore.engine.ledger import count_commits, every_id
from mlstore.engine.mirror import MIRROR, find_mirror, put_mirror
from mlstore.errors import UsageError
from mlstore.format.segment import HEAD
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import META, Keyspace, declared
from mlstore.storage.transaction import Item, Reader, Writer

LEFT = b"left"

_ANEW = "make a new one with clone()"


@dataclass(frozen=True, slots=True)
class MirrorReport:
    """What travelled: commits that the mirror did not have, extents (large buffers of segments) and their bytes, small records changed."""

    commits: int
    extents: int
    extent_bytes: int
    records: int


def update(source: Environment, target: Environment, *, now_us: int) -> MirrorReport:
    """Make a mirror equal to its origin as of now."""
    if source.file_id != target.file_id:
        raise UsageError(f"{target.path} is no mirror of {source.path}: it is another store", hint=_ANEW)
    with target.writer():
        pass  # opened while another process wrote, a file is mapped for reading only until it is written, or something in it is viewed
    with source.reader() as reader:
        with target.reader() as there:
            if _is_newer(reader, there, source, target):
                return MirrorReport(0, 0, 0, 0)
            missing = list(_missing(reader, there, source, target))
            commits = count_commits(there)
        extents = extent_bytes = 0
        while missing:
            with target.writer() as writer:
                while missing and writer.dirty_bytes < limits.STAGE_BYTES:
                    extent_bytes += _copy(reader, writer, missing.pop())
                    extents += 1
        with target.writer() as writer:
            if _is_newer(reader, writer, source, target):
                return MirrorReport(0, extents, extent_bytes, 0)
            # Another one may have brought the mirror to another state meanwhile; whatever it left, what is named must be there.
            for key in list(_missing(reader, writer, source, target)):
                _copy(reader, writer, key)
            records = sum(_equalize(reader, writer, space) for space in declared() if space not in (META, EXTENTS, MIRROR))
            _drop_unneeded(reader, writer)
            put_mirror(writer, source.path, now_us)
        return MirrorReport(count_commits(reader) - commits, extents, extent_bytes, records)


def left_extents(reader: Reader) -> set[bytes]:
    """Extents that the origin has dropped and a reader of the mirror leased: they go with a later update."""
    return {key[len(LEFT) :] for key, _ in reader.scan_prefix(MIRROR, LEFT)}


def _is_newer(reader: Reader, there: Reader, source: Environment, target: Environment) -> bool:
    """Whether somebody brought the mirror further than this reader sees its origin; refuses what is no mirror of it."""
    if find_mirror(there) is None:
        raise UsageError(f"{target.path} is a store of its own, no mirror", hint=_ANEW)
    if not _knows_more(there, reader):
        return False
    with source.reader() as fresh:
        if _knows_more(there, fresh):
            raise UsageError(f"{target.path} has commits that {source.path} has not: it is a mirror of another copy", hint=_ANEW)
    return True


def _knows_more(one: Reader, other: Reader) -> bool:
    pairs = _side_by_side(every_id(one), every_id(other))
    return any(theirs is None for _, _, theirs in pairs)


def _missing(reader: Reader, there: Reader, source: Environment, target: Environment) -> Iterator[bytes]:
    """The extents that only the origin has. Heads hold the checksums of all of a segment: where they are equal, the segments are."""
    pairs = _side_by_side(reader.scan(EXTENTS, keys_only=True), there.scan(EXTENTS, keys_only=True))
    for key, mine, theirs in pairs:
        if mine is not None and theirs is None:
            yield key
        elif mine is not None and KEY.unpack(key)[1] == HEAD and not _view(reader, key).equals(_view(there, key)):
            raise UsageError(
                f"{target.path} has another segment {KEY.unpack(key)[0]} than {source.path}: it is of another copy", hint=_ANEW
            )


def _copy(reader: Reader, writer: Writer, key: bytes) -> int:
    value = _view(reader, key)
    writer.put(EXTENTS, key, memoryview(value))
    return int(value.size)


def _view(reader: Reader, key: bytes) -> pa.Buffer:
    place = reader.view(EXTENTS, key)
    assert place is not None
    return pa.foreign_buffer(place.address, place.size, base=place)


def _equalize(reader: Reader, writer: Writer, space: Keyspace) -> int:
    """Bring the records of a keyspace to what they are at the origin; how many were not."""
    put: list[Item] = []
    gone: list[bytes] = []
    for key, mine, theirs in _side_by_side(reader.scan(space), writer.scan(space)):
        if mine is None:
            gone.append(key)
        elif mine != theirs:
            put.append((key, mine))
    writer.delete_many(space, gone)
    writer.put_many(space, put)
    return len(put) + len(gone)


def _drop_unneeded(reader: Reader, writer: Writer) -> None:
    """Free the extents that the origin has not any more, but for those that arrays of some process show."""
    pairs = _side_by_side(reader.scan(EXTENTS, keys_only=True), writer.scan(EXTENTS, keys_only=True))
    unneeded = [key for key, mine, _ in pairs if mine is None]
    segments = sorted({KEY.unpack(key)[0] for key in unneeded})
    # The locks must outlast the commit: a reader that asks in between is refused and copies.
    stack = ExitStack()
    free = set(stack.enter_context(writer.leases.collecting(segments)))
    writer.on_commit(stack.close)
    writer.on_abort(stack.close)
    left = {key for key in unneeded if KEY.unpack(key)[0] not in free}
    left |= {_view(writer, key).to_pybytes() for key in left if _view(writer, key).size == KEY.size}
    writer.delete_range(MIRROR)
    for key in unneeded:
        if key in left:
            writer.put(MIRROR, LEFT + key, b"")
        else:
            writer.delete(EXTENTS, key)


def _side_by_side(one: Iterable[Item], other: Iterable[Item]) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    """Each key of two ascending scans with its value in either; None: it is not there."""
    mine, theirs = iter(one), iter(other)
    here, there = next(mine, None), next(theirs, None)
    while here is not None or there is not None:
        if there is None or (here is not None and here[0] < there[0]):
            assert here is not None
            yield here[0], here[1], None
            here = next(mine, None)
        elif here is None or there[0] < here[0]:
            yield there[0], None, there[1]
            there = next(theirs, None)
        else:
            yield here[0], here[1], there[1]
            here, there = next(mine, None), next(theirs, None)
