"""Feast as an online store in SQLite, the one it takes unless told otherwise, through its SDK and in this process."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType, __version__
from feast.types import Bool, Float64, Int64, String

from benchmarks.features import KEY, NAMES, TIME, TYPES, VIEW, Answer, Durability, Features

REFERENCES = [f"{VIEW}:{name}" for name in NAMES]
FEAST_TYPES = {pa.float64(): Float64, pa.int64(): Int64, pa.bool_(): Bool, pa.string(): String}
FOR_EVER = timedelta(0)

# Its own dependencies disagree; their users can do nothing about it.
warnings.filterwarnings("ignore", category=DeprecationWarning)


class Engine:
    """A registry in a file, kept in memory once read; types that a null leaves open are told to Arrow."""

    version = __version__
    durabilities: tuple[Durability, ...] = ("full",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: FeatureStore | None = None

    def open_online(self, features: Features, durability: Durability) -> None:
        # It has no word on durability: SQLite's own is `full`.
        self._opened = FeatureStore(
            config=RepoConfig(
                project="online",
                provider="local",
                registry={"path": str(self._folder / "registry.db"), "cache_ttl_seconds": 3600},
                online_store=self.online_store(),
                entity_key_serialization_version=3,
            )
        )
        user = Entity(name="user", join_keys=[KEY], value_type=ValueType.INT64)
        schema = [Field(name=name, dtype=FEAST_TYPES[kind]) for name, kind in zip(NAMES, TYPES, strict=True)]
        source = FileSource(name="rows", path=str(self._folder / "rows.parquet"), timestamp_field=TIME)
        self._store.apply([user, FeatureView(name=VIEW, entities=[user], schema=schema, source=source, ttl=FOR_EVER)])

    def online_store(self) -> dict[str, Any]:
        return {"type": "sqlite", "path": str(self._folder / "online.db")}

    def close(self) -> None:
        self._opened = None

    def load_table(self, table: pa.Table) -> None:
        self.write_many(table)

    def one(self, key: int) -> Answer:
        found = self._store.get_online_features(features=REFERENCES, entity_rows=[{KEY: key}]).to_dict()
        return {name: values[0] for name, values in found.items()}

    def many(self, keys: Sequence[int]) -> pa.Table:
        return self._store.get_online_features(features=REFERENCES, entity_rows=[{KEY: key} for key in keys]).to_arrow()

    def write_row(self, row: dict[str, Any]) -> None:
        self._store.write_to_online_store(VIEW, inputs={name: [value] for name, value in row.items()})

    def write_many(self, table: pa.Table) -> None:
        self._store.write_to_online_store(VIEW, df=table.to_pandas())

    def size_bytes(self) -> int:
        return (self._folder / "online.db").stat().st_size

    @property
    def _store(self) -> FeatureStore:
        if self._opened is None:
            raise RuntimeError("the Feast store is closed")
        return self._opened
