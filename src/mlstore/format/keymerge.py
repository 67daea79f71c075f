"""Merging key vectors: the distinct keys of several sorted vectors, sorted."""

from collections.abc import Sequence

import numpy as np

from mlstore.format.keyvector import Keys


def merge_keys(parts: Sequence[Keys]) -> Keys:
    """The union of at least one sorted vector, all of one kind."""
    if len(parts) == 1:
        return parts[0]
    if parts[0].kind == "int":
        return Keys(ints=np.unique(np.concatenate([part.ints for part in parts])))
    return Keys.from_encoded(sorted({key for part in parts for key in part.encoded()}), "bytes")
