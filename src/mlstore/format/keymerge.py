"""Merging key vectors: the distinct keys of several sorted vectors, sorted."""

from collections.abc import Sequence

import numpy as np

from mlstore.errors import CorruptionError
from mlstore.format.keyvector import Ints, Keys
from mlstore.format.packed import CURE


def merge_keys(parts: Sequence[Keys]) -> Keys:
    """The union of at least one sorted vector, all of one kind."""
    if len(parts) == 1:
        return parts[0]
    if parts[0].kind == "int":
        return Keys(ints=np.unique(np.concatenate([part.ints for part in parts])))
    return Keys.from_encoded(sorted({key for part in parts for key in part.encoded()}), "bytes")


def places_in(merged: Keys, part: Keys) -> Ints:
    """Where the keys of a part lie among those it was merged into; CorruptionError: they were not in order, so some are not found."""
    places = merged.search(part)
    if len(places) and places.min() < 0:
        raise CorruptionError("keys of stored rows are not in order", hint=CURE)
    return places
