"""The header is refused by whoever may not read or write the file, and by nobody else."""

from dataclasses import replace

import msgpack
import pytest

from mlstore.errors import CorruptionError, FormatVersionError, NotAStoreError
from mlstore.format.header import FORMAT_VERSION, Header, decode_header, encode_header, require_writable

HEADER = Header(writer="mlstore 0.1.0", created_us=1_700_000_000_000_000, file_id="ab" * 16)


def test_a_header_comes_back_as_it_was_written():
    header = replace(HEADER, optional_features=("sketches",))

    assert decode_header(encode_header(header)) == header


@pytest.mark.parametrize("record", [b"", b"\xc1", b"hello", msgpack.packb([1, 2]), msgpack.packb({"magic": "other"}), msgpack.packb(None)])
def test_a_record_of_somebody_else_is_no_store(record: bytes):
    with pytest.raises(NotAStoreError, match=r"flights\.mls.*no mlstore file"):
        decode_header(record, place="flights.mls")


def test_a_file_for_newer_readers_is_refused_with_the_cure():
    newer = replace(HEADER, writer="mlstore 9.0", format_version=9, min_reader_version=FORMAT_VERSION + 1)

    with pytest.raises(FormatVersionError, match=r"mlstore 9\.0.*format 2.*pip install --upgrade"):
        decode_header(encode_header(newer))


def test_an_unknown_required_feature_is_refused_by_name():
    newer = replace(HEADER, required_features=("encryption",))

    with pytest.raises(FormatVersionError, match=r"^the file: written by mlstore 0\.1\.0, .*encryption \(install a newer mlstore"):
        decode_header(encode_header(newer))


def test_a_newer_format_is_refused_even_if_its_other_fields_are_strange():
    record = msgpack.packb({"magic": "mlstore", "min_reader_version": 7, "writer": 5})
    nameless = msgpack.packb({"magic": "mlstore", "min_reader_version": 7})

    with pytest.raises(FormatVersionError, match="written by 5, needs a reader of format 7"):
        decode_header(record)
    with pytest.raises(FormatVersionError, match="written by a newer mlstore, needs"):
        decode_header(nameless)


@pytest.mark.parametrize("field", ["writer", "created_us", "file_id", "format_version", "min_reader_version", "required_features"])
def test_a_header_without_one_of_its_fields_is_damaged(field: str):
    record = msgpack.unpackb(encode_header(HEADER))
    del record[field]

    with pytest.raises(CorruptionError, match=field):
        decode_header(msgpack.packb(record))


def test_a_header_with_a_field_of_the_wrong_type_is_damaged():
    record = msgpack.unpackb(encode_header(HEADER)) | {"created_us": "yesterday"}

    with pytest.raises(CorruptionError, match="yesterday"):
        decode_header(msgpack.packb(record))


def test_a_newer_format_that_old_readers_may_read_is_read_but_not_written():
    newer = replace(HEADER, format_version=FORMAT_VERSION + 1)

    header = decode_header(encode_header(newer))

    assert header.format_version == FORMAT_VERSION + 1
    with pytest.raises(FormatVersionError, match="read_only=True"):
        require_writable(header)


def test_an_unknown_optional_feature_is_read_but_not_written():
    header = decode_header(encode_header(replace(HEADER, optional_features=("sketches",))))

    with pytest.raises(FormatVersionError, match=r"^the file: .*sketches \(open it with read_only=True"):
        require_writable(header)
    require_writable(HEADER)
