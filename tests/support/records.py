"""Plain records of a storage environment, for tests that look no higher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import declare

A = declare("tests.a")


def open_store(path: str | Path, **options: Any) -> Environment:
    return Environment.open(path, writer_version="test", **options)


def put(environment: Environment, key: bytes, value: bytes) -> None:
    with environment.writer() as writer:
        writer.put(A, key, value)


def get(environment: Environment, key: bytes) -> bytes | None:
    with environment.reader() as reader:
        return reader.get(A, key)
