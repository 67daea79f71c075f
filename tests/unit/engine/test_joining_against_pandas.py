"""pandas agrees with asof_join wherever both mean the same: nearest takes the later of two equally far rows, pandas the earlier."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import mlstore as ml

pd = pytest.importorskip("pandas")

SWITCHES = list(itertools.product(("backward", "forward", "nearest"), (None, 3), (True, False)))


@pytest.mark.parametrize(("direction", "tolerance", "exact"), SWITCHES)
@pytest.mark.parametrize("seed", range(10))
def test_pandas_and_asof_join_agree_on_random_tables(seed: int, direction: str, tolerance: int | None, exact: bool) -> None:
    random = np.random.default_rng(seed)
    # For nearest: odd times on the left, multiples of 4 on the right, so that no row is equally far from two.
    left = pd.DataFrame({"t": np.sort(random.choice([-9, -8, -3, -1, 0, 1, 4, 5, 7, 8], 60)), "k": random.integers(0, 4, 60)})
    right = pd.DataFrame({"t": np.sort(random.integers(-5, 5, 50)) * 4, "k": random.integers(0, 4, 50), "v": np.arange(50.0)})
    if direction == "nearest":
        left, right = left[left["t"] % 2 == 1].reset_index(drop=True), right.drop_duplicates(["k", "t"]).reset_index(drop=True)
    options = {"direction": direction, "tolerance": tolerance, "allow_exact_matches": exact}
    shuffle = random.permutation(len(left))
    expected = pd.merge_asof(left, right, on="t", by="k", **options)["v"].to_numpy()

    answer = ml.asof_join(left.iloc[shuffle].reset_index(drop=True), right, on="t", by="k", **options)["v"].to_numpy()

    np.testing.assert_array_equal(answer, expected[shuffle])
