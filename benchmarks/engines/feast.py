"""Feast with its DuckDB offline store: a file source for each view, and a registry in a file."""

from __future__ import annotations

import warnings
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType, __version__
from feast.types import Float64

from benchmarks.history import KEY, TIME, History, View

REFERENCES = [f"{view.name}:{feature}" for view in History(0).views for feature in view.features]
FOR_EVER = timedelta(0)
MAX_LABELS, MAX_LABELS_OF_POPULAR_KEYS = 100_000, 10_000

# Its own dependencies disagree; their users can do nothing about it.
warnings.filterwarnings("ignore", category=DeprecationWarning)


class Engine:
    """The views are Parquet files, as the file source has them."""

    version = __version__
    keeps_open = True
    offline_store = "duckdb"

    def __init__(self, folder: Path) -> None:
        self._opened: FeatureStore | None = None

    def build_views(self, history: History, store: Path) -> None:
        entity = Entity(name=KEY, join_keys=[KEY], value_type=ValueType.INT64 if history.keys == "int" else ValueType.STRING)
        views = []
        for view in history.views:
            path = store / f"{view.name}.parquet"
            with pq.ParquetWriter(path, history.schema(view), compression="zstd") as writer:
                for piece in history.pieces(view):
                    writer.write_batch(piece)
            views.append(describe_view(view, entity, path))
        self.open_views(store)
        self._store.apply([entity, *views])
        self.close()

    def open_views(self, store: Path) -> None:
        self._opened = FeatureStore(
            config=RepoConfig(
                project="asof",
                provider="local",
                registry=str(store / "registry.db"),
                offline_store={"type": self.offline_store},
                online_store={"type": "sqlite", "path": str(store / "online.db")},
                entity_key_serialization_version=3,
            )
        )

    def join(self, labels: pa.Table) -> pa.Table:
        return self._store.get_historical_features(entity_df=labels.to_pandas(), features=REFERENCES).to_arrow()

    def bears(self, history: History, labels: int) -> bool:
        """It pairs each label with all earlier rows of its key before it takes the newest, so that popular keys fill the memory."""
        return labels <= (MAX_LABELS if history.skew == "uniform" else MAX_LABELS_OF_POPULAR_KEYS)

    def close(self) -> None:
        self._opened = None

    @property
    def _store(self) -> FeatureStore:
        if self._opened is None:
            raise RuntimeError("the Feast store is closed")
        return self._opened


def describe_view(view: View, entity: Entity, path: Path) -> FeatureView:
    source = FileSource(name=f"{view.name}_source", path=str(path), timestamp_field=TIME)
    schema = [Field(name=feature, dtype=Float64) for feature in view.features]
    return FeatureView(name=view.name, entities=[entity], schema=schema, source=source, ttl=FOR_EVER)
