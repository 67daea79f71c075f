"""As-of search: for each question (key, time) the latest admissible fact, in the total order (time, created, seq).

Questions are grouped by key; facts are grouped by key and ascend in (time, created, seq).
"""

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

def match_backward(
    ask_offsets: Int64,
    ask_latest: Int64,
    ask_oldest: Int64,
    ask_known: Int64,
    key_position: Int64,
    fact_offsets: Int64,
    fact_time: Int64,
    first_time: int,
    last_time: int,
    fact_created: Int64,
    same_created: int,
    fact_seq: Int64,
    same_seq: int,
    hidden: NDArray[np.uint8],
    last_seq: int,
    source: int,
    best_time: Int64,
    best_created: Int64,
    best_seq: Int64,
    best_source: NDArray[np.int32],
    best_row: NDArray[np.uint32],
) -> None:
    """Improve the best answers with the facts of one block, all of them from first_time to last_time."""

def match_next(
    ask_offsets: Int64,
    ask_latest: Int64,
    key_position: Int64,
    fact_offsets: Int64,
    fact_time: Int64,
    fact_seq: Int64,
    same_seq: int,
    hidden: NDArray[np.uint8],
    last_seq: int,
    next_time: Int64,
) -> None:
    """Lower next_time to the earliest admissible fact of one block that is later than `latest`."""

def find_ranges(
    ask_position: Int64,
    ask_first: Int64,
    ask_last: Int64,
    fact_offsets: Int64,
    fact_time: Int64,
    begin: Int64,
    end: Int64,
) -> None:
    """Rows [begin, end) of each question's key with first <= time <= last, both inclusive."""
