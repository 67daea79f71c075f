"""Runs: questions about the values in rows [begin, end), for what does not merge. Questions of a group come together.

Fastest if begin and end ascend within a group, as those of windows do: then what enters and what leaves is all that is looked at.
"""

from libc.math cimport exp2, floor
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free

import numpy as np

from mlstore._core.words cimport Words


cdef check_runs(const int64_t[::1] begin, const int64_t[::1] end, int64_t rows):
    cdef Py_ssize_t i
    if begin.shape[0] != end.shape[0]:
        raise ValueError("runs differ in length")
    for i in range(begin.shape[0]):
        if begin[i] < end[i] and (begin[i] < 0 or end[i] > rows):
            raise ValueError("a run holds rows that are not there")


cdef int64_t* find_room(int64_t words) except NULL:
    cdef int64_t* room = <int64_t*> calloc(max(1, words), 8)
    if room == NULL:
        raise MemoryError
    return room


cdef inline int64_t come_and_go(int64_t code, int64_t change, int64_t* held) noexcept nogil:
    """How the number of distinct values changes when one more, or one less, is held."""
    held[code] += change
    return (1 if held[code] == 1 else 0) if change > 0 else (-1 if held[code] == 0 else 0)


def count_distinct(
    const int64_t[::1] codes,           # IN   [rows] from 0 to below code_count, equal where values are
    int64_t code_count,
    const int64_t[::1] begin,           # IN   [questions]
    const int64_t[::1] end,             # IN   [questions]
    int64_t[::1] counts,                # OUT  [questions]
):
    """How many distinct values each run holds."""
    cdef Py_ssize_t ask
    cdef int64_t first = 0, last = 0, distinct = 0, row
    check_runs(begin, end, codes.shape[0])
    if counts.shape[0] != begin.shape[0]:
        raise ValueError("counts do not fit the questions")
    cdef int64_t* held = find_room(code_count)
    with nogil:
        for ask in range(begin.shape[0]):
            if begin[ask] >= end[ask]:
                counts[ask] = 0
                continue
            if begin[ask] < first or end[ask] < last or begin[ask] >= last:
                for row in range(first, last):
                    held[codes[row]] = 0
                first = last = begin[ask]
                distinct = 0
            while last < end[ask]:
                distinct += come_and_go(codes[last], 1, held)
                last += 1
            while first < begin[ask]:
                distinct += come_and_go(codes[first], -1, held)
                first += 1
            counts[ask] = distinct
    free(held)


def list_latest(
    const int64_t[::1] codes,           # IN   [rows] from 0 to below code_count
    int64_t code_count,
    const int64_t[::1] begin,           # IN   [questions]
    const int64_t[::1] end,             # IN   [questions]
    int64_t most,
    int64_t[::1] lengths,               # OUT  [questions] how many rows were found
):
    """The last rows of up to `most` distinct values, the latest first: one question's after the other's."""
    cdef Py_ssize_t ask
    cdef int64_t row
    cdef Words found = Words()
    check_runs(begin, end, codes.shape[0])
    if lengths.shape[0] != begin.shape[0]:
        raise ValueError("lengths do not fit the questions")
    cdef int64_t* asked_by = find_room(code_count)
    try:
        with nogil:
            for ask in range(begin.shape[0]):
                lengths[ask] = 0
                row = end[ask] - 1
                while row >= begin[ask] and lengths[ask] < most:
                    if asked_by[codes[row]] != ask + 1:
                        asked_by[codes[row]] = ask + 1
                        found.append(&row, 1)
                        lengths[ask] += 1
                    row -= 1
    finally:
        free(asked_by)
    return found.copy()


def list_commonest(
    const int64_t[::1] codes,           # IN   [rows] from 0 to below code_count
    int64_t code_count,
    const int64_t[::1] begin,           # IN   [questions]
    const int64_t[::1] end,             # IN   [questions]
    int64_t most,
    int64_t[::1] lengths,               # OUT  [questions] how many rows were found
):
    """The last rows of the `most` commonest values, the commonest first and of equals the one seen last: one question's after the other's."""
    cdef Py_ssize_t ask
    cdef int64_t row, place, count, widest = 0
    cdef Words found = Words()
    check_runs(begin, end, codes.shape[0])
    if lengths.shape[0] != begin.shape[0]:
        raise ValueError("lengths do not fit the questions")
    for ask in range(begin.shape[0]):
        widest = max(widest, end[ask] - begin[ask])
    most = min(most, widest, code_count)
    cdef int64_t* held = find_room(code_count)
    cdef int64_t* best = find_room(most + 1)
    try:
        with nogil:
            for ask in range(begin.shape[0]):
                for row in range(begin[ask], end[ask]):
                    held[codes[row]] += 1
                count = 0
                # Values come in the order in which they were seen last, the latest first: of equals the first to come stays ahead.
                row = end[ask] - 1
                while row >= begin[ask]:
                    if held[codes[row]] > 0:
                        place = min(count, most)
                        while place > 0 and -held[codes[best[place - 1]]] < held[codes[row]]:
                            best[place] = best[place - 1]
                            place -= 1
                        best[place] = row
                        count = min(count + 1, most)
                        held[codes[row]] = -held[codes[row]]
                    row -= 1
                for row in range(begin[ask], end[ask]):
                    held[codes[row]] = 0
                lengths[ask] = count
                found.append(best, count)
    finally:
        free(held)
        free(best)
    return found.copy()


cdef inline void move(int64_t* tree, int64_t size, int64_t rank, int64_t change) noexcept nogil:
    rank += 1
    while rank <= size:
        tree[rank] += change
        rank += rank & -rank


cdef inline int64_t find_nth(const int64_t* tree, int64_t size, int64_t step, int64_t nth) noexcept nogil:
    """The rank of the nth of those held, from 0."""
    cdef int64_t rank = 0
    while step > 0:
        if rank + step <= size and tree[rank + step] <= nth:
            rank += step
            nth -= tree[rank]
        step >>= 1
    return rank


def find_quantiles(
    const int64_t[::1] offsets,         # IN   [groups + 1] rows of a group
    const int64_t[::1] ranks,           # IN   [rows] the place of a value among those of its group in ascending order, from 0
    const int64_t[::1] ask_offsets,     # IN   [groups + 1] questions of a group
    const int64_t[::1] begin,           # IN   [questions]
    const int64_t[::1] end,             # IN   [questions]
    const double[::1] shares,           # IN   [quantiles] from 0 to 1
    int64_t[:, ::1] lower,              # OUT  [quantiles, questions] rank of the value at, or next below, the quantile; -1 over nothing
    int64_t[:, ::1] upper,              # OUT  [quantiles, questions] rank of the value next above
):
    """Where the quantiles of runs lie, as in numpy: at (n - 1) * share among n values in ascending order."""
    cdef Py_ssize_t group, groups = offsets.shape[0] - 1, ask, q
    cdef int64_t first, last, held, size, step, nth, widest = 0
    check_runs(begin, end, ranks.shape[0])
    if groups < 0 or ask_offsets.shape[0] != groups + 1 or ask_offsets[groups] != begin.shape[0] or offsets[groups] > ranks.shape[0]:
        raise ValueError("offsets do not fit the rows and questions")
    if lower.shape[0] != shares.shape[0] or upper.shape[0] != shares.shape[0]:
        raise ValueError("answers do not fit the quantiles")
    if lower.shape[1] != begin.shape[0] or upper.shape[1] != begin.shape[0]:
        raise ValueError("answers do not fit the questions")
    for group in range(groups):
        widest = max(widest, offsets[group + 1] - offsets[group])
    cdef int64_t* tree = find_room(widest + 1)
    with nogil:
        for group in range(groups):
            size = offsets[group + 1] - offsets[group]
            step = 1
            while 2 * step <= size:
                step *= 2
            first = last = offsets[group]
            for ask in range(ask_offsets[group], ask_offsets[group + 1]):
                if begin[ask] >= end[ask]:
                    for q in range(shares.shape[0]):
                        lower[q, ask] = upper[q, ask] = -1
                    continue
                while last < end[ask]:
                    move(tree, size, ranks[last], 1)
                    last += 1
                while last > end[ask]:
                    last -= 1
                    move(tree, size, ranks[last], -1)
                while first < begin[ask]:
                    move(tree, size, ranks[first], -1)
                    first += 1
                while first > begin[ask]:
                    first -= 1
                    move(tree, size, ranks[first], 1)
                held = last - first
                for q in range(shares.shape[0]):
                    nth = <int64_t> floor((held - 1) * shares[q])
                    lower[q, ask] = find_nth(tree, size, step, nth)
                    upper[q, ask] = find_nth(tree, size, step, min(nth + 1, held - 1))
            while first < last:
                move(tree, size, ranks[first], -1)
                first += 1
    free(tree)


def sum_decayed(
    const int64_t[::1] time,            # IN   [rows]
    const double[::1] values,           # IN   [rows]
    const int64_t[::1] begin,           # IN   [questions]
    const int64_t[::1] end,             # IN   [questions]
    const int64_t[::1] moment,          # IN   [questions]
    double half_life,
    double[::1] sums,                   # OUT  [questions]
):
    """The sum of values halved with every half-life of age, added in the order of the rows."""
    cdef Py_ssize_t ask
    cdef int64_t row
    cdef double total
    check_runs(begin, end, time.shape[0])
    if values.shape[0] != time.shape[0] or moment.shape[0] != begin.shape[0] or sums.shape[0] != begin.shape[0]:
        raise ValueError("arrays differ in length")
    with nogil:
        for ask in range(begin.shape[0]):
            total = -0.0
            for row in range(begin[ask], end[ask]):
                total += values[row] * exp2(-(<double> (<uint64_t> moment[ask] - <uint64_t> time[row]) / half_life))
            sums[ask] = total
