"""Order: the rows of a table by (key, event time, created, position), the order segments are written in."""

import numpy as np
from numpy.typing import NDArray

from mlstore._core.gather import take_fixed
from mlstore._core.sort import sort_rows

Ints = NDArray[np.int64]


def order_rows(
    codes: NDArray[np.int32], n_groups: int, time: Ints | None, created: Ints | None = None, *, drop_null: bool = False
) -> tuple[NDArray[np.uint32], Ints]:
    """(order, offsets): the rows of group g, oldest first, are order[offsets[g]:offsets[g + 1]].

    Ties of time, and of created if given, stay in the order they came in; without time, all rows of a group do. With drop_null, rows of
    code -1 are left out; without, they are a ValueError.
    """
    kept = np.flatnonzero(codes >= 0) if drop_null and codes.size and codes.min() < 0 else None
    if kept is not None:
        codes = codes[kept]
        time = None if time is None else time[kept]
        created = None if created is None else created[kept]
    order = np.empty(len(codes), np.uint32)
    offsets = np.empty(n_groups + 1, np.int64)
    sort_rows(
        np.ascontiguousarray(codes),
        n_groups,
        None if time is None else np.ascontiguousarray(time),
        None if created is None else np.ascontiguousarray(created),
        order,
        offsets,
    )
    return (order if kept is None else kept[order].astype(np.uint32)), offsets


def take_ints(values: Ints, places: NDArray[np.uint32]) -> Ints:
    """values[places], by memory fetched ahead."""
    taken = np.empty(len(places), np.int64)
    take_fixed(np.ascontiguousarray(values).view(np.uint8), 8, places, taken.view(np.uint8))
    return taken
