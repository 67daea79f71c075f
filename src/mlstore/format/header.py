"""The header: the one record that says what a file is and who may read it.

Pure: values to bytes and back; storage keeps the record under `HEADER_KEY` of the keyspace "meta". Invariant: a file that
needs something this version does not know is refused by name, never half read.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgpack

from mlstore.errors import CorruptionError, FormatVersionError, NotAStoreError
from mlstore.format.packed import unpack

HEADER_KEY: Final = b"header"
MAGIC: Final = "mlstore"
FORMAT_VERSION: Final = 1
MIN_READER_VERSION: Final = 1
KNOWN_FEATURES: Final[frozenset[str]] = frozenset()

T = TypeVar("T")

_UPGRADE: Final = "install a newer mlstore: pip install --upgrade mlstore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself.

    `required_features` must be known to read the file; `optional_features` only to write it.
    """

    writer: str
    created_us: int
    file_id: str
    format_version: int = FORMAT_VERSION
    min_reader_version: int = MIN_READER_VERSION
    required_features: tuple[str, ...] = ()
    optional_features: tuple[str, ...] = ()


def encode_header(header: Header) -> bytes:
    """The record of a header."""
    record = {
        "magic": MAGIC,
        "format_version": header.format_version,
        "min_reader_version": header.min_reader_version,
        "required_features": list(header.required_features),
        "optional_features": list(header.optional_features),
        "writer": header.writer,
        "created_us": header.created_us,
        "file_id": header.file_id,
    }
    return bytes(msgpack.packb(record))


def decode_header(data: bytes, *, place: str = "the file") -> Header:
    """The header of a record; refuses what is no header and what this version may not read.

    Raises
    ------
    NotAStoreError
        The record is not one of mlstore.
    FormatVersionError
        The file asks for a newer reader or for features unknown here.
    CorruptionError
        The record is one of mlstore, but damaged.
    """
    record = _unpack(data)
    if record is None or record.get("magic") != MAGIC:
        raise NotAStoreError(f"{place}: no mlstore file: its header is not one of mlstore", hint="check the path")
    _refuse_newer(record, place)
    try:
        return Header(
            writer=_expect(str, record["writer"]),
            created_us=_expect(int, record["created_us"]),
            file_id=_expect(str, record["file_id"]),
            format_version=_expect(int, record["format_version"]),
            min_reader_version=_expect(int, record["min_reader_version"]),
            required_features=_names(record["required_features"]),
            optional_features=_names(record["optional_features"]),
        )
    except (KeyError, TypeError) as error:
        raise CorruptionError(f"{place}: the header is damaged: {error}", hint="restore a backup") from error


def require_writable(header: Header, *, place: str = "the file") -> None:
    """Refuse to write a file whose writer knew more than this version: what we do not know we would not keep."""
    if header.format_version > FORMAT_VERSION:
        raise FormatVersionError(
            f"{place}: format {header.format_version}, by {header.writer}; this version writes {FORMAT_VERSION}, so may only read it",
            hint=f"open it with read_only=True, or {_UPGRADE}",
        )
    unknown = sorted(set(header.optional_features) - KNOWN_FEATURES)
    if unknown:
        raise FormatVersionError(
            f"{place}: has features this version cannot keep up when writing: {', '.join(unknown)}",
            hint=f"open it with read_only=True, or {_UPGRADE}",
        )


def _unpack(data: bytes) -> dict[str, Any] | None:
    try:
        record = unpack(data)
    except (ValueError, TypeError):
        return None
    return record if isinstance(record, dict) else None


def _refuse_newer(record: dict[str, Any], place: str) -> None:
    # Before any other field is looked at: a newer format may have changed them all.
    writer = record.get("writer", "a newer mlstore")
    min_reader = record.get("min_reader_version")
    if isinstance(min_reader, int) and min_reader > FORMAT_VERSION:
        raise FormatVersionError(
            f"{place}: written by {writer}, needs a reader of format {min_reader}; this version reads up to format {FORMAT_VERSION}",
            hint=_UPGRADE,
        )
    required = record.get("required_features")
    unknown = sorted({str(feature) for feature in required} - KNOWN_FEATURES) if isinstance(required, list) else []
    if unknown:
        raise FormatVersionError(f"{place}: written by {writer}, needs features unknown here: {', '.join(unknown)}", hint=_UPGRADE)


def _expect(kind: type[T], value: object) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value


def _names(value: object) -> tuple[str, ...]:
    return tuple(_expect(str, name) for name in _expect(list, value))
