"""Forensics: the records of a file one by one, taken apart as far as they can be, whole or damaged; found without LMDB.

What a key or value is meant to say is told under the names of docs/format.md; what it does not fit is shown as it is.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from mlstore.engine import ledger
from mlstore.engine.history.offline import BEHIND_STATES
from mlstore.engine.history.tail import CLOCKS_BYTES, DELETED, PREFIX, decode_clocks
from mlstore.errors import CorruptionError, UnknownNameError
from mlstore.format.act import Act
from mlstore.format.manifest import Ref, SegmentEntry, TableState
from mlstore.format.packed import FixedFields, unpack
from mlstore.format.rows import peek
from mlstore.storage.keyspace import declared
from mlstore.storage.scavenge import Scavenger

Told = dict[str, Any]

_SHOWN_BYTES = 600


@dataclass(frozen=True, slots=True)
class DumpedRecord:
    """One record: its keyspace, what its key and value say, and how many bytes the value has. `is_readable`: both fit the format."""

    keyspace: str
    key: Mapping[str, Any]
    value: Any
    size_bytes: int
    is_readable: bool


def dump(path: str | os.PathLike[str], keyspace: str | None) -> Iterator[DumpedRecord]:
    """The records of a file; see mlstore.dump."""
    names = sorted(space.name for space in declared())
    if keyspace is not None and keyspace not in names:
        raise UnknownNameError(f"no keyspace {keyspace!r}", hint=f"there is {', '.join(names)}")
    return _dump(Scavenger(os.fspath(path)), keyspace)


def _dump(scavenger: Scavenger, keyspace: str | None) -> Iterator[DumpedRecord]:
    for name, key, value in scavenger.records():
        if keyspace in (None, name):
            told_key, key_fits = _told(_tell_key, name, key)
            told_value, value_fits = _told(_tell_value, name, value)
            yield DumpedRecord(name, told_key, told_value, len(value), key_fits and value_fits)
    for loss in scavenger.losses:
        yield DumpedRecord("", {"lost": loss}, None, 0, is_readable=False)


def _told(tell: Callable[[str, bytes], Any], name: str, data: bytes) -> tuple[Any, bool]:
    try:
        return tell(name, data), True
    except (CorruptionError, ValueError, TypeError, IndexError):
        return {"hex": data[:_SHOWN_BYTES].hex()}, False


_KEYS: dict[str, tuple[FixedFields, tuple[str, ...]]] = {
    "lines": (FixedFields(">I"), ("line",)),
    "forks": (FixedFields(">IQI"), ("line", "fork", "seen_by")),
    "merges": (FixedFields(">IQ"), ("line", "seq")),
    "reflog": (FixedFields(">Q"), ("number",)),
    "commits": (FixedFields(">IQ"), ("line", "seq")),
    "feed": (FixedFields(">IIQH"), ("table", "line", "seq", "place")),
    "segments": (FixedFields(">IIQ"), ("table", "line", "segment")),
    "extents": (FixedFields(">QH"), ("segment", "extent")),
    "deletes": (FixedFields(">IIQ"), ("table", "line", "segment")),
    "staged": (FixedFields(">Q"), ("segment",)),
    "trash": (FixedFields(">Q"), ("segment",)),
}
_LAID_OUT = {"segments": SegmentEntry, "refs": Ref}
_COMMIT = ("seq", "line", "parents", "author", "message", "time_us", "changes")
_MOVE = ("time_us", "author", "action", "branch", "before", "after", "message", "line")
_ACT = tuple(field.name for field in fields(Act))[1:]
_STATE = tuple(field.name for field in fields(TableState))
_COUNTER = FixedFields(">Q")
_ENTRY = ("table", "seq", "time_us", "definition")


def _tell_key(name: str, key: bytes) -> Told:
    if name in _KEYS:
        layout, names = _KEYS[name]
        return dict(zip(names, layout.unpack(key), strict=True))
    if name == "heads":
        return _tell_head_key(key)
    if name in ("tail", "shadows"):
        table, line = PREFIX.unpack(key[: PREFIX.size])
        clocks = [int(clock[0]) for clock in decode_clocks(key[-CLOCKS_BYTES:])]
        entity = key[PREFIX.size : -CLOCKS_BYTES].hex()
        return {"table": table, "line": line, "key": entity} | dict(zip(("event_time", "created", "seq"), clocks, strict=True))
    if name in ("online", "kept"):
        table, line = PREFIX.unpack(key[: PREFIX.size])
        owned, fork = (key[PREFIX.size :], b"") if name == "online" else (key[PREFIX.size : -8], key[-8:])
        return {"table": table, "line": line, "key": owned.hex()} | ({"fork": int.from_bytes(fork, "big")} if fork else {})
    if name == "catalog":
        kind, named, suffix = key.split(b"\0", 2)
        numbers = [int.from_bytes(suffix[at : at + 4], "big") for at in range(0, len(suffix), 4)]
        return {"kind": kind.decode(), "name": named.decode()} | dict(zip(("version", "revision", "line"), numbers, strict=False))
    if name == "audit":
        return {"seq": int.from_bytes(key, "big")} if len(key) == 8 else {"name": key.decode()}
    return {"id": key.hex()} if name == "commit_ids" else {"name": key.decode()}


def _tell_head_key(key: bytes) -> Told:
    if key.startswith(ledger.RECENT):
        return dict(zip(("line", "seq"), ledger.LINE_SEQ.unpack(key[len(ledger.RECENT) :]), strict=True))
    return {"name": key.decode()} if key >= BEHIND_STATES else dict(zip(("table", "line"), PREFIX.unpack(key), strict=True))


def _tell_head(value: bytes) -> Any:
    if len(value) == _COUNTER.size:
        return list(_COUNTER.unpack(value))
    fields_told = unpack(value)
    return dict(zip(_COMMIT if len(fields_told) == len(_COMMIT) else _STATE, fields_told, strict=True))


def _tell_value(name: str, value: bytes) -> Any:
    if name == "heads":
        return _tell_head(value)
    if name in _LAID_OUT:
        names = [field.name for field in fields(_LAID_OUT[name])]
        return dict(zip(names, unpack(value), strict=False))
    record = {"commits": _COMMIT, "reflog": _MOVE, "catalog": _ENTRY}.get(name)
    if record is not None:
        return dict(zip(record, unpack(value), strict=True))
    if name == "audit":
        return {"id": value.hex()} if len(value) == 16 else dict(zip(_ACT, unpack(value), strict=True))
    if name in ("meta", "lines"):
        return unpack(value)
    if name in ("tail", "online", "kept"):
        deleted = {"deleted_seq": DELETED.unpack(value[: DELETED.size])[0]} if name == "tail" else {}
        row = value[DELETED.size :] if name == "tail" else value
        return deleted | (dict(zip(("revision", "event_time", "created", "seq"), peek(row), strict=True)) if row else {})
    if name in ("merges", "commit_ids"):
        return list(ledger.LINE_SEQ.unpack(value))
    if name == "shadows":
        return {"deleted_seq": DELETED.unpack(value)[0]}
    return None
