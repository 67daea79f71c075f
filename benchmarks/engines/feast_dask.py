"""Feast with the offline store that it takes unless told otherwise: Dask over the same files."""

from __future__ import annotations

from benchmarks.engines import feast


class Engine(feast.Engine):
    """Reads everything and sorts it."""

    offline_store = "dask"
