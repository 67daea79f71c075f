"""Joins in time: for each question the nearest admissible fact of its group, before or after it.

A time is a count of ticks (int64) or a double; both sides are of one kind. A unit is (length of a tick, whether ticks count from -2^63, as
those of uint64 do when the sign bit is flipped); counts of differing units are compared exactly. For doubles units mean nothing, and no NaN
may come in.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Times = NDArray[np.int64] | NDArray[np.float64]
Unit = tuple[int, bool]

def match_sorted(
    ask_offsets: Ints,
    ask_time: Times,
    ask_unit: Unit,
    ask_known: Ints,
    fact_offsets: Ints,
    fact_time: Times,
    fact_unit: Unit,
    fact_created: Ints,
    hidden: NDArray[np.uint8],
    strict: bool,
    forward: bool,
    last_of_ties: bool,
    matched: Ints,
) -> None:
    """Fill matched with the nearest candidate at or before (forward: at or after) each question, strict: not at it; or -1.

    Questions and facts of group g are those between their offsets; the times of a group's facts ascend. Facts that are hidden, or created
    after ask_known, are no candidates. Ties of the fact's time: backward the last fact; forward the first of those created last, or with
    last_of_ties the last.
    """

def match_merged(
    ask_order: NDArray[np.uint32],
    ask_code: NDArray[np.int32],
    ask_time: Times,
    ask_unit: Unit,
    fact_code: NDArray[np.int32],
    fact_time: Times,
    fact_unit: Unit,
    strict: bool,
    forward: bool,
    last_of_ties: bool,
    latest: Ints,
    matched: Ints,
) -> None:
    """As match_sorted, for facts whose times ascend whatever their group, in one walk. ask_order: the questions in order of time."""

def match_streamed(
    ask_offsets: Ints,
    ask_time: Times,
    ask_unit: Unit,
    fact_code: NDArray[np.int32],
    fact_time: Times,
    fact_unit: Unit,
    strict: bool,
    forward: bool,
    last_of_ties: bool,
    bounds: Times,
    best_time: Times,
    bounded: Ints,
    matched: Ints,
) -> None:
    """As match_sorted, for facts in any order and questions in ascending order of time within their group."""

def choose_nearer(ask_time: Times, ask_unit: Unit, fact_time: Times, fact_unit: Unit, later: Ints, matched: Ints) -> None:
    """Replace matched by later where that is at least as near to the question."""

def drop_distant(ask_time: Times, ask_unit: Unit, fact_time: Times, fact_unit: Unit, tolerance: float, matched: Ints) -> None:
    """Set matched to -1 where it is farther from the question than the tolerance."""

def bound_ticks(ticks: Ints, unit: Unit, other_unit: Unit, bounds: Ints) -> None:
    """Fill bounds with the last tick of the other unit at or before each; -2^63 if there is none."""

def is_ascending(values: Times) -> bool:
    """Whether no value is below the one before it."""
