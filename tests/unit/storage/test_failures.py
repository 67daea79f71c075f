"""Every code of LMDB, and the ones of the system that matter, become one clear sentence with its cure."""

import errno
import os

import lmdb
import pytest

from mlstore import errors
from mlstore.storage.failures import translate

EXPECTED = {
    lmdb.MapFullError: errors.StoreFullError,
    lmdb.TxnFullError: errors.StoreFullError,
    lmdb.DiskError: errors.StoreFullError,
    lmdb.ReadersFullError: errors.StoreBusyError,
    lmdb.TlsFullError: errors.StoreBusyError,
    lmdb.LockError: errors.StoreBusyError,
    lmdb.DbsFullError: errors.StoreError,
    lmdb.CursorFullError: errors.CorruptionError,
    lmdb.PageFullError: errors.CorruptionError,
    lmdb.PageNotFoundError: errors.CorruptionError,
    lmdb.CorruptedError: errors.CorruptionError,
    lmdb.PanicError: errors.StoreError,
    lmdb.VersionMismatchError: errors.FormatVersionError,
    lmdb.InvalidError: errors.NotAStoreError,
    lmdb.MapResizedError: errors.StoreError,
    lmdb.IncompatibleError: errors.NotAStoreError,
    lmdb.BadRslotError: errors.StoreError,
    lmdb.BadTxnError: errors.StoreError,
    lmdb.BadValsizeError: errors.InvalidDataError,
    lmdb.BadDbiError: errors.StoreError,
    lmdb.ReadonlyError: errors.ReadOnlyError,
    lmdb.MemoryError: errors.StoreError,
    lmdb.InvalidParameterError: errors.StoreError,
    lmdb.KeyExistsError: errors.StoreError,
    lmdb.NotFoundError: errors.StoreError,
}
OF_NEWER_ENGINES = {"ProblemError", "BadChecksumError", "CryptoFailError", "EnvEncryptionError"}
SYSTEM = {
    errno.ENOSPC: errors.StoreFullError,
    errno.EDQUOT: errors.StoreFullError,
    errno.EFBIG: errors.StoreFullError,
    errno.EACCES: errors.StoreError,
    errno.EROFS: errors.StoreError,
    errno.ENOENT: errors.StoreError,
    errno.EISDIR: errors.NotAStoreError,
    errno.EMFILE: errors.StoreBusyError,
    errno.EAGAIN: errors.StoreBusyError,
    errno.ENOLCK: errors.StoreBusyError,
    errno.EIO: errors.StoreError,
}


def lmdb_error(words: str, code: int = 0) -> lmdb.Error:
    error = lmdb.Error(words)
    error.code = code  # as the engine sets it
    return error


def test_every_error_of_the_engine_has_a_translation():
    of_lmdb = {name for name in lmdb.__all__ if name.endswith("Error") and name != "Error"}

    assert {kind.__name__ for kind in EXPECTED} == of_lmdb - OF_NEWER_ENGINES


@pytest.mark.parametrize("kind", EXPECTED, ids=lambda kind: kind.__name__)
def test_an_error_of_lmdb_names_place_action_and_cure(kind: type[lmdb.Error], tmp_path):
    place = str(tmp_path / "flights.mls")

    translated = translate(kind("mdb_something"), place, "commit")

    assert type(translated) is EXPECTED[kind]
    assert translated.message.startswith(f"{place}: could not commit: ")
    assert len(translated.hint) >= len("shorten it")


def test_each_error_of_lmdb_has_words_of_its_own():
    sentences = {translate(kind("x"), "p", "commit").message for kind in EXPECTED}

    assert len(sentences) == len(EXPECTED)


@pytest.mark.parametrize("code", SYSTEM, ids=errno.errorcode.get)
def test_an_error_of_the_system_is_the_same_from_lmdb_and_from_python(code: int):
    from_python = translate(OSError(code, os.strerror(code)), "p", "open it")
    from_lmdb = translate(lmdb_error("mdb_env_open", code), "p", "open it")

    assert type(from_python) is type(from_lmdb) is SYSTEM[code]
    assert str(from_python) == str(from_lmdb)
    assert from_python.hint


def test_an_unknown_error_keeps_its_own_words():
    translated = translate(lmdb_error("mdb_odd: strange thing", -12345), "flights.mls", "commit")

    assert type(translated) is errors.StoreError
    assert "strange thing" in str(translated)
    assert "verify()" in translated.hint


def test_a_finished_transaction_is_a_closed_one():
    translated = translate(lmdb_error("Attempt to operate on closed/deleted/dropped object."), "p", "read")

    assert type(translated) is errors.ClosedError


def test_a_file_opened_by_others_in_this_process_is_busy():
    translated = translate(lmdb_error("The environment 'p' is already open in this process."), "p", "open it")

    assert type(translated) is errors.StoreBusyError
    assert "not through mlstore" in translated.message


def test_errors_of_this_package_pass_unchanged():
    ours = errors.StoreFullError("full")

    assert translate(ours, "p", "commit") is ours


def test_a_write_that_fell_short_on_a_full_disk_is_not_called_a_broken_disk(tmp_path, monkeypatch):
    place = tmp_path / "store.mls"
    place.write_bytes(b"x")
    real = os.statvfs(place)
    full = os.statvfs_result((*real[:3], 0, 0, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)

    translated = translate(lmdb_error("mdb_txn_commit", errno.EIO), str(place), "commit")

    assert type(translated) is errors.StoreFullError
