"""Ranks: the place of each value among the distinct values of its column.

Four ways to find them, for values in order, of a narrow range, of few kinds, and sorted beforehand; none ever takes two values for one.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from mlstore._core.prefetch cimport prefetch

cdef enum:
    AHEAD = 16                  # values between a fetch of their slots and its use


cdef inline uint64_t scatter_bits(uint64_t value) noexcept nogil:
    """The finalizer of MurmurHash3: every bit of the value moves every bit of the answer."""
    value ^= value >> 33
    value *= 0xFF51AFD7ED558CCDULL
    value ^= value >> 33
    value *= 0xC4CEB9FE1A85EC53ULL
    return value ^ (value >> 33)


def survey_ints(const int64_t[::1] values):
    """(lowest, highest) of values; there must be one."""
    cdef Py_ssize_t i
    cdef int64_t low, high
    if values.shape[0] == 0:
        raise ValueError("no values")
    with nogil:
        low = high = values[0]
        for i in range(values.shape[0]):
            low = min(low, values[i])
            high = max(high, values[i])
    return low, high


def rank_ordered(
    const int64_t[::1] values,     # IN   [n]
    int32_t[::1] ranks,            # OUT  [n]
    int64_t[::1] uniques,          # OUT  [n], the first `count` places
):
    """Rank values that never fall. The count of distinct ones, or -1 when a value falls."""
    cdef Py_ssize_t i
    cdef int32_t rank = -1
    cdef int64_t last = 0
    if ranks.shape[0] != values.shape[0] or uniques.shape[0] != values.shape[0]:
        raise ValueError("values, ranks and uniques differ in length")
    with nogil:
        for i in range(values.shape[0]):
            if rank < 0 or values[i] > last:
                rank += 1
                last = values[i]
                uniques[rank] = last
            elif values[i] < last:
                rank = -2
                break
            ranks[i] = rank
    return rank + 1


def mark_present(
    const int64_t[::1] values,     # IN   [n], in [low, low + table size)
    int64_t low,
    int32_t[::1] table,            # IN, OUT  zeros; 1 where a value is
):
    """Mark the values that occur. How many distinct ones."""
    cdef Py_ssize_t i
    cdef int64_t count = 0
    cdef uint64_t slot, size = <uint64_t> table.shape[0]
    with nogil:
        for i in range(values.shape[0]):
            slot = <uint64_t> values[i] - <uint64_t> low
            if slot >= size:
                count = -1
                break
            count += 1 - table[slot]
            table[slot] = 1
    if count < 0:
        raise ValueError("a value lies outside of the table")
    return count


def rank_present(
    const int64_t[::1] values,     # IN   [n], as given to mark_present
    int64_t low,
    int32_t[::1] table,            # IN, OUT  as mark_present left it; then the rank of each value
    int32_t[::1] ranks,            # OUT  [n]
    int64_t[::1] uniques,          # OUT  [count of mark_present]
):
    """Rank values by a table of all values they might have."""
    cdef Py_ssize_t i
    cdef int32_t rank = 0
    if ranks.shape[0] != values.shape[0]:
        raise ValueError("values and ranks differ in length")
    with nogil:
        for i in range(table.shape[0]):
            if table[i] and rank < uniques.shape[0]:
                uniques[rank] = <int64_t> (<uint64_t> low + <uint64_t> i)
                table[i] = rank
                rank += 1
        for i in range(values.shape[0]):
            ranks[i] = table[<uint64_t> values[i] - <uint64_t> low]


def number_hashed(
    const int64_t[::1] values,     # IN   [n]
    int64_t[:, ::1] table,         # IN, OUT  [power of two over the length of uniques, 2] value and number; numbers are all -1
    int32_t[::1] numbers,          # OUT  [n]
    int64_t[::1] uniques,          # OUT  [most], the first `count` places
):
    """Number distinct values in the order they are met. Their count, or -1 if there are more than `most` or they collide too often."""
    cdef Py_ssize_t i
    cdef uint64_t slot, mask = <uint64_t> table.shape[0] - 1
    cdef int64_t steps_left = 4 * values.shape[0] + 64, number, count = 0, most = uniques.shape[0]
    if table.shape[1] != 2 or table.shape[0] & (table.shape[0] - 1) or table.shape[0] <= most:
        raise ValueError("the table must be a power of two and longer than uniques")
    if numbers.shape[0] != values.shape[0]:
        raise ValueError("values and numbers differ in length")
    with nogil:
        for i in range(values.shape[0]):
            slot = scatter_bits(<uint64_t> values[i]) & mask
            while table[slot, 1] >= 0 and table[slot, 0] != values[i]:
                slot = (slot + 1) & mask
                steps_left -= 1
            number = table[slot, 1]
            if steps_left < 0 or (number < 0 and count == most):
                count = -1
                break
            if number < 0:
                number = count
                table[slot, 0] = uniques[count] = values[i]
                table[slot, 1] = number
                count += 1
            numbers[i] = <int32_t> number
    return count


def rank_sorted(
    const uint64_t[::1] words,     # IN   [n] sorted: value - low
    const uint32_t[::1] rows,      # IN   [n] the row of each word
    int64_t low,
    int32_t[::1] ranks,            # OUT  [n]
    int64_t[::1] uniques,          # OUT  [n], the first `count` places
):
    """Rank values by their sorted words. The count of distinct ones."""
    cdef Py_ssize_t i
    cdef int32_t rank = -1
    if rows.shape[0] != words.shape[0] or ranks.shape[0] != words.shape[0] or uniques.shape[0] != words.shape[0]:
        raise ValueError("words, rows, ranks and uniques differ in length")
    with nogil:
        for i in range(words.shape[0]):
            if i == 0 or words[i] != words[i - 1]:
                rank += 1
                uniques[rank] = <int64_t> (words[i] + <uint64_t> low)
            ranks[rows[i]] = rank
    return rank + 1


def combine_ranks(
    int64_t[::1] combined,         # IN, OUT  [n] ranks of the columns to the left, or -1
    const int32_t[::1] ranks,      # IN   [n] ranks of the next column, or -1
    int64_t radix,                 # IN   ranks are below it; combined * radix fits
):
    """combined = combined * radix + ranks, or -1 where either is."""
    cdef Py_ssize_t i
    if ranks.shape[0] != combined.shape[0]:
        raise ValueError("combined and ranks differ in length")
    with nogil:
        for i in range(combined.shape[0]):
            combined[i] = -1 if combined[i] < 0 or ranks[i] < 0 else combined[i] * radix + ranks[i]


def find_narrow(
    const int64_t[::1] values,     # IN   [n]
    int64_t low,
    const int32_t[::1] table,      # IN   the number of value low + i, or -1
    int32_t[::1] numbers,          # OUT  [n]
):
    """The number of each value by a table of all values it might have; -1 outside of it."""
    cdef Py_ssize_t i
    cdef uint64_t slot, size = <uint64_t> table.shape[0]
    if numbers.shape[0] != values.shape[0]:
        raise ValueError("values and numbers differ in length")
    with nogil:
        for i in range(values.shape[0]):
            slot = <uint64_t> values[i] - <uint64_t> low
            numbers[i] = table[slot] if slot < size else -1


def find_hashed(
    const int64_t[::1] values,     # IN   [n]
    const int64_t[:, ::1] table,   # IN   [power of two, 2] as number_hashed left it, with free slots
    int32_t[::1] numbers,          # OUT  [n]
):
    """The number that number_hashed gave each value; -1 if it never met it."""
    cdef Py_ssize_t i, n = values.shape[0]
    cdef uint64_t slot, mask = <uint64_t> table.shape[0] - 1
    if table.shape[1] != 2 or table.shape[0] == 0 or table.shape[0] & (table.shape[0] - 1) or numbers.shape[0] != n:
        raise ValueError("the table must be a power of two, and values and numbers of one length")
    with nogil:
        for i in range(n):
            if i + AHEAD < n:
                prefetch(&table[scatter_bits(<uint64_t> values[i + AHEAD]) & mask, 0])
            slot = scatter_bits(<uint64_t> values[i]) & mask
            while table[slot, 1] >= 0 and table[slot, 0] != values[i]:
                slot = (slot + 1) & mask
            numbers[i] = <int32_t> table[slot, 1]
