"""Values are found among distinct ones as a dict finds them, whichever way is taken."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlstore.format import ranks
from mlstore.format.ranks import finder_of

near = st.integers(-20, 20)
far = st.sampled_from([-(2**63), 2**63 - 1, 2**40, -(2**40)])
uniques = st.lists(near | far, unique=True, max_size=30).map(sorted)


@given(uniques, st.lists(near | far, max_size=30), st.booleans())
def test_values_are_found_as_a_dict_finds_them(known: list[int], values: list[int], collides: bool) -> None:
    expected = {value: place for place, value in enumerate(known)}

    # Values made to collide: the hash table gives up, and a bisection takes its place.
    with patch.object(ranks, "number_hashed", (lambda *_: -1) if collides else ranks.number_hashed):
        found = finder_of(np.array(known, np.int64))(np.array(values, np.int64))

    assert found.tolist() == [expected.get(value, -1) for value in values]


def test_many_values_far_apart_are_found() -> None:
    known = np.unique(np.random.default_rng(3).integers(-(2**62), 2**62, 50_000))
    expected = np.append(np.arange(len(known)), np.full(len(known), -1))

    found = finder_of(known)(np.append(known, known + 1))

    assert (found == expected).all()
