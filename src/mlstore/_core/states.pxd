"""States: what a window or a tile knows of one column, in words of 64 bits; an event is the state of one value.

The words, in this order, each only if the mask asks for it: count | sum (floats: 1 word; integers: 2, low and high of 128 bits) |
mean, m2 | m3, m4 | least | greatest. Least and greatest are ordered words: see order_word. Nothing is ever subtracted.
The states of all columns that one view aggregates lie side by side in a record.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint64_t

cdef extern from *:
    """
    #include <string.h>
    #include <stdint.h>
    #include <math.h>
    static inline double mlstore_double_of(int64_t word) { double value; memcpy(&value, &word, 8); return value; }
    static inline int64_t mlstore_word_of(double value) { int64_t word; memcpy(&word, &value, 8); return word; }
    static inline int64_t mlstore_settled(double value) { return mlstore_word_of(value != value ? NAN : value); }
    """
    double double_of "mlstore_double_of"(int64_t word) noexcept nogil
    int64_t word_of "mlstore_word_of"(double value) noexcept nogil
    int64_t settled_word "mlstore_settled"(double value) noexcept nogil

cdef enum Kind:
    ROWS = 0                    # no values: events are only counted
    INTS = 1
    UINTS = 2
    FLOATS = 3

cdef enum Asked:
    SUM = 1
    SPREAD = 2                  # mean and m2, the sum of the squares of what is apart from it
    SHAPE = 4                   # m3 and m4, of the third and fourth powers; together with SPREAD
    LEAST = 8
    GREATEST = 16

cdef struct Measure:
    int64_t kind
    int64_t mask
    int64_t place               # of its first word in a record
    const int64_t* values       # [rows] 64-bit integers, or the bits of doubles; NULL for ROWS
    const uint8_t* counted      # [rows] 0: passed over; NULL: all count

cdef struct Moments:
    double count
    double mean
    double m2
    double m3
    double m4


cdef inline int64_t words_of(int64_t kind, int64_t mask) noexcept nogil:
    cdef int64_t words = 1
    if mask & SUM:
        words += 1 if kind == FLOATS else 2
    if mask & SPREAD:
        words += 2
    if mask & SHAPE:
        words += 2
    return words + (1 if mask & LEAST else 0) + (1 if mask & GREATEST else 0)


cdef inline double number_of(int64_t kind, int64_t word) noexcept nogil:
    if kind == FLOATS:
        return double_of(word)
    return <double> <uint64_t> word if kind == UINTS else <double> word


cdef inline int64_t order_word(int64_t kind, int64_t word, int64_t nan) noexcept nogil:
    """A signed word that is ordered as the values are: -0.0 below 0.0; NaN becomes the word that wins, so that it is never lost."""
    if kind == FLOATS:
        if double_of(word) != double_of(word):
            return nan
        return word ^ ((word >> 63) & INT64_MAX)
    return word ^ INT64_MIN if kind == UINTS else word


cdef inline void set_nothing(const Measure* measure, int64_t* state) noexcept nogil:
    """The state of no value: what is merged into it stays as it is."""
    cdef int64_t place = 1
    state[0] = 0
    if measure.mask & SUM:
        # Only -0.0 leaves every value as it is, 0.0 would turn -0.0 into itself.
        state[place] = word_of(-0.0) if measure.kind == FLOATS else 0
        place += 1
        if measure.kind != FLOATS:
            state[place] = 0
            place += 1
    if measure.mask & SPREAD:
        state[place] = state[place + 1] = 0
        place += 2
    if measure.mask & SHAPE:
        state[place] = state[place + 1] = 0
        place += 2
    if measure.mask & LEAST:
        state[place] = INT64_MAX
        place += 1
    if measure.mask & GREATEST:
        state[place] = INT64_MIN


cdef inline void merge_moments(Moments* one, double count, double mean, double m2, double m3, double m4, bint shape) noexcept nogil:
    """Chan, Golub, LeVeque 1979 for m2, Pebay 2008 for m3 and m4. Neither of the two may be empty."""
    cdef double total = one.count + count
    cdef double share = one.count / total, other = count / total
    cdef double apart = mean - one.mean
    cdef double square = apart * apart
    if shape:
        one.m4 += m4 + square * square * one.count * other * (share * share - share * other + other * other) + (
            6.0 * square * (share * share * m2 + other * other * one.m2) + 4.0 * apart * (share * m3 - other * one.m3)
        )
        one.m3 += m3 + square * apart * one.count * other * (share - other) + 3.0 * apart * (share * m2 - other * one.m2)
    one.m2 += m2 + square * (one.count * other)
    one.mean += apart * other
    one.count = total


cdef inline void add_sums(const Measure* measure, int64_t begin, int64_t end, int64_t* state) noexcept nogil:
    cdef int64_t row
    cdef uint64_t low, value
    cdef int64_t high
    cdef double total
    cdef const uint8_t* counted = measure.counted
    cdef const int64_t* values = measure.values
    if measure.kind == FLOATS:
        total = double_of(state[0])
        for row in range(begin, end):
            if counted == NULL or counted[row]:
                total += double_of(values[row])
        state[0] = word_of(total)
        return
    low, high = <uint64_t> state[0], state[1]
    for row in range(begin, end):
        if counted == NULL or counted[row]:
            value = <uint64_t> values[row]
            low += value
            high += low < value
            if measure.kind == INTS:
                high += values[row] >> 63
    state[0], state[1] = <int64_t> low, high


cdef inline void add_moments(const Measure* measure, int64_t begin, int64_t end, int64_t count, int64_t* state) noexcept nogil:
    cdef int64_t row = begin
    cdef bint shape = (measure.mask & SHAPE) != 0
    cdef const uint8_t* counted = measure.counted
    cdef Moments sofar
    sofar.count, sofar.mean, sofar.m2 = <double> count, double_of(state[0]), double_of(state[1])
    sofar.m3 = double_of(state[2]) if shape else 0.0
    sofar.m4 = double_of(state[3]) if shape else 0.0
    if count == 0:
        while counted != NULL and not counted[row]:
            row += 1
        sofar.count, sofar.mean = 1.0, number_of(measure.kind, measure.values[row])
        row += 1
    while row < end:
        if counted == NULL or counted[row]:
            merge_moments(&sofar, 1.0, number_of(measure.kind, measure.values[row]), 0.0, 0.0, 0.0, shape)
        row += 1
    state[0], state[1] = word_of(sofar.mean), word_of(sofar.m2)
    if shape:
        state[2], state[3] = word_of(sofar.m3), word_of(sofar.m4)


cdef inline void add_least(const Measure* measure, int64_t begin, int64_t end, int64_t* state) noexcept nogil:
    cdef int64_t row, word, least = state[0]
    for row in range(begin, end):
        if measure.counted == NULL or measure.counted[row]:
            word = order_word(measure.kind, measure.values[row], INT64_MIN)
            least = word if word < least else least
    state[0] = least


cdef inline void add_greatest(const Measure* measure, int64_t begin, int64_t end, int64_t* state) noexcept nogil:
    cdef int64_t row, word, greatest = state[0]
    for row in range(begin, end):
        if measure.counted == NULL or measure.counted[row]:
            word = order_word(measure.kind, measure.values[row], INT64_MAX)
            greatest = word if word > greatest else greatest
    state[0] = greatest


cdef inline void add_events(const Measure* measure, int64_t begin, int64_t end, int64_t* state) noexcept nogil:
    """Merge the rows [begin, end) into a state, one by one."""
    cdef int64_t row, place = 1, count = state[0], added = 0
    if measure.counted == NULL:
        added = end - begin
    else:
        for row in range(begin, end):
            added += measure.counted[row] != 0
    if added <= 0:
        return
    state[0] = count + added
    if measure.mask & SUM:
        add_sums(measure, begin, end, state + place)
        place += 1 if measure.kind == FLOATS else 2
    if measure.mask & SPREAD:
        add_moments(measure, begin, end, count, state + place)
        place += 4 if measure.mask & SHAPE else 2
    if measure.mask & LEAST:
        add_least(measure, begin, end, state + place)
        place += 1
    if measure.mask & GREATEST:
        add_greatest(measure, begin, end, state + place)


cdef inline void merge_tiles(
    const Measure* measure, const int64_t* records, int64_t stride, int64_t begin, int64_t end, int64_t* state
) noexcept nogil:
    """Merge the states of a column in the records [begin, end) into a state, from left to right."""
    cdef int64_t i, count = state[0], sum_place = 1, spread_place = 1, least_place, greatest_place
    cdef bint sums = (measure.mask & SUM) != 0, exact = measure.kind != FLOATS, spread = (measure.mask & SPREAD) != 0
    cdef bint shape = (measure.mask & SHAPE) != 0, least = (measure.mask & LEAST) != 0, greatest = (measure.mask & GREATEST) != 0
    cdef const int64_t* tile = records + begin * stride + measure.place
    cdef uint64_t low = 0
    cdef int64_t high = 0
    cdef double total = 0.0
    cdef Moments sofar
    spread_place += (2 if exact else 1) if sums else 0
    least_place = spread_place + (2 if spread else 0) + (2 if shape else 0)
    greatest_place = least_place + (1 if least else 0)
    if sums and exact:
        low, high = <uint64_t> state[sum_place], state[sum_place + 1]
    elif sums:
        total = double_of(state[sum_place])
    sofar.count, sofar.mean, sofar.m2, sofar.m3, sofar.m4 = <double> count, 0.0, 0.0, 0.0, 0.0
    if spread:
        sofar.mean, sofar.m2 = double_of(state[spread_place]), double_of(state[spread_place + 1])
    if shape:
        sofar.m3, sofar.m4 = double_of(state[spread_place + 2]), double_of(state[spread_place + 3])
    for i in range(begin, end):
        if tile[0] != 0:
            if sums and exact:
                low += <uint64_t> tile[sum_place]
                high += tile[sum_place + 1] + (low < <uint64_t> tile[sum_place])
            elif sums:
                total += double_of(tile[sum_place])
            if spread:
                if count == 0:
                    sofar.count, sofar.mean, sofar.m2 = <double> tile[0], double_of(tile[spread_place]), double_of(tile[spread_place + 1])
                    if shape:
                        sofar.m3, sofar.m4 = double_of(tile[spread_place + 2]), double_of(tile[spread_place + 3])
                elif shape:
                    merge_moments(
                        &sofar, <double> tile[0], double_of(tile[spread_place]), double_of(tile[spread_place + 1]),
                        double_of(tile[spread_place + 2]), double_of(tile[spread_place + 3]), True,
                    )
                else:
                    merge_moments(&sofar, <double> tile[0], double_of(tile[spread_place]), double_of(tile[spread_place + 1]), 0.0, 0.0, False)
            if least:
                state[least_place] = min(state[least_place], tile[least_place])
            if greatest:
                state[greatest_place] = max(state[greatest_place], tile[greatest_place])
            count += tile[0]
        tile += stride
    state[0] = count
    if sums and exact:
        state[sum_place], state[sum_place + 1] = <int64_t> low, high
    elif sums:
        state[sum_place] = word_of(total)
    if spread:
        state[spread_place], state[spread_place + 1] = word_of(sofar.mean), word_of(sofar.m2)
    if shape:
        state[spread_place + 2], state[spread_place + 3] = word_of(sofar.m3), word_of(sofar.m4)


cdef inline void set_event(const Measure* measure, int64_t row, int64_t* state) noexcept nogil:
    """The state of one row: what adding it to nothing gives."""
    cdef int64_t place = 1
    set_nothing(measure, state)
    if measure.counted != NULL and not measure.counted[row]:
        return
    state[0] = 1
    if measure.mask & SUM:
        state[place] = measure.values[row]
        if measure.kind != FLOATS:
            place += 1
            state[place] = measure.values[row] >> 63 if measure.kind == INTS else 0
        place += 1
    if measure.mask & SPREAD:
        state[place] = word_of(number_of(measure.kind, measure.values[row]))
        place += 4 if measure.mask & SHAPE else 2
    if measure.mask & LEAST:
        state[place] = order_word(measure.kind, measure.values[row], INT64_MIN)
        place += 1
    if measure.mask & GREATEST:
        state[place] = order_word(measure.kind, measure.values[row], INT64_MAX)


cdef inline void settle(const Measure* measure, int64_t* state) noexcept nogil:
    """One NaN, whatever made it: which of two NaN a processor hands on is not for a file to tell."""
    cdef int64_t place = 1, i
    if measure.mask & SUM:
        if measure.kind == FLOATS:
            state[place] = settled_word(double_of(state[place]))
        place += 1 if measure.kind == FLOATS else 2
    if measure.mask & SPREAD:
        for i in range(4 if measure.mask & SHAPE else 2):
            state[place + i] = settled_word(double_of(state[place + i]))
