"""Feast with the offline store that it takes unless told otherwise: Dask over the same files."""

from __future__ import annotations

from benchmarks.engines import feast


class Engine(feast.Engine):
    """Reads everything and sorts it."""

    offline_store = "dask"
    # Once one view has been joined, a label that has no row in the next one is dropped.
    loses_labels = True
