"""Joins in time: for each question of a left table the nearest admissible row of a right one, before or after it.

A time is a count of ticks (int64) or a double. Counts of the two sides may differ in unit and origin; they are compared exactly, in 128 bits.
Questions and facts that share a group number share a key.
"""

from libc.math cimport fabs
from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from mlstore._core.prefetch cimport prefetch
from mlstore._core.ticks cimport Units, apart, find_bound, tick_t, units_of, wide_t, widen

cdef enum:
    AHEAD = 16                  # questions between a fetch and its use
    BATCH = 32                  # facts whose questions are fetched before the first of them is placed
    VALUES_OF_LINE = 8          # in a line of the cache
    MOST_FETCHED = 64

cdef inline int64_t first_after_between(const tick_t* time, int64_t low, int64_t high, tick_t bound) noexcept nogil:
    """First row of [low, high) later than the bound. Without branches: no processor can guess what a bisection finds."""
    cdef int64_t half, left = high - low
    while left > 0:
        half = (left + 1) >> 1
        low += half if time[low + half - 1] <= bound else 0
        left -= half
    return low


cdef inline int64_t first_after(const tick_t* time, int64_t low, int64_t high, tick_t bound) noexcept nogil:
    """First row of [low, high) later than the bound: gallop from the left, then bisect."""
    cdef int64_t step = 1
    while low + step <= high and time[low + step - 1] <= bound:
        low += step
        step <<= 1
    if low + step - 1 < high:
        high = low + step - 1
    return first_after_between(time, low, high, bound)


cdef struct Filter:
    const uint8_t* hidden       # not 0: no candidate; or NULL
    const int64_t* created      # or NULL
    bint has_known              # rows created after `known` are no candidates
    int64_t known


cdef inline bint admits(const Filter* rule, int64_t row) noexcept nogil:
    if rule.hidden != NULL and rule.hidden[row]:
        return False
    return not rule.has_known or rule.created[row] <= rule.known


cdef inline int64_t settle_forward(const Filter* rule, const tick_t* time, int64_t row, int64_t end, bint last_of_ties) noexcept nogil:
    """Of the admissible rows at the time of `row`, the first such: the last, or the first of the latest created."""
    cdef int64_t last = row, other = row + 1
    if not last_of_ties and rule.created == NULL:
        return row
    while other < end and time[other] == time[row]:
        if admits(rule, other):
            last = other
        other += 1
    if last_of_ties:
        return last
    while not (rule.created[row] == rule.created[last] and admits(rule, row)):
        row += 1
    return row


cdef void search_sorted(
    const int64_t[::1] ask_offsets,
    const tick_t[::1] ask_time,
    const int64_t[::1] ask_known,
    const int64_t[::1] fact_offsets,
    const tick_t[::1] fact_time,
    Filter rule,
    Units units,
    bint strict,
    bint forward,
    bint last_of_ties,
    int64_t[::1] matched,
) noexcept nogil:
    cdef Py_ssize_t group, ask
    cdef int64_t begin, end, cursor, row
    cdef tick_t bound, last_bound
    cdef const tick_t* time = &fact_time[0]
    for group in range(ask_offsets.shape[0] - 1):
        begin, end = fact_offsets[group], fact_offsets[group + 1]
        if begin == end:
            for ask in range(ask_offsets[group], ask_offsets[group + 1]):
                matched[ask] = -1
            continue
        cursor = begin
        last_bound = time[begin]
        for ask in range(ask_offsets[group], ask_offsets[group + 1]):
            if not find_bound(ask_time[ask], &units, strict != forward, &bound):
                cursor = begin
            elif bound >= last_bound:
                cursor = first_after(time, cursor, end, bound)
                last_bound = bound
            else:
                cursor = first_after_between(time, begin, end, bound)
                last_bound = bound
            rule.known = ask_known[ask] if rule.has_known else 0
            if forward:
                row = cursor
                while row < end and not admits(&rule, row):
                    row += 1
                matched[ask] = settle_forward(&rule, time, row, end, last_of_ties) if row < end else -1
            else:
                row = cursor - 1
                while row >= begin and not admits(&rule, row):
                    row -= 1
                matched[ask] = row if row >= begin else -1


def match_sorted(
    const int64_t[::1] ask_offsets,   # IN   [groups + 1] questions of group g are ask_offsets[g] : ask_offsets[g + 1]
    const tick_t[::1] ask_time,       # IN   [asks] fastest if it ascends within a group
    tuple ask_unit,                   # IN   (length of a tick, whether ticks count from -2^63)
    const int64_t[::1] ask_known,     # IN   [asks] latest admissible creation, or empty: no bound
    const int64_t[::1] fact_offsets,  # IN   [groups + 1]
    const tick_t[::1] fact_time,      # IN   [facts] ascending within a group
    tuple fact_unit,
    const int64_t[::1] fact_created,  # IN   [facts] or empty; ascending among equal times of a group
    const uint8_t[::1] hidden,        # IN   [facts] not 0: no candidate; or empty
    bint strict,
    bint forward,
    bint last_of_ties,
    int64_t[::1] matched,             # OUT  [asks] the fact, or -1
):
    """Match each question with the nearest candidate of its group: at or before its time, or at or after it."""
    cdef Units units = units_of(ask_unit, fact_unit)
    cdef Py_ssize_t asks = ask_time.shape[0], facts = fact_time.shape[0]
    cdef Filter rule
    if ask_offsets.shape[0] != fact_offsets.shape[0] or ask_offsets[ask_offsets.shape[0] - 1] != asks or matched.shape[0] != asks:
        raise ValueError("the groups do not fit the questions")
    if fact_offsets[fact_offsets.shape[0] - 1] != facts or fact_created.shape[0] not in (0, facts) or hidden.shape[0] not in (0, facts):
        raise ValueError("the groups do not fit the facts")
    if ask_known.shape[0] not in (0, asks) or (asks and ask_known.shape[0] and facts and not fact_created.shape[0]):
        raise ValueError("what is known does not fit the questions")
    if facts == 0:
        matched[:] = -1
        return
    rule.hidden = &hidden[0] if hidden.shape[0] else NULL
    rule.created = &fact_created[0] if fact_created.shape[0] else NULL
    rule.has_known = ask_known.shape[0] > 0
    with nogil:
        search_sorted(
            ask_offsets, ask_time, ask_known, fact_offsets, fact_time, rule, units, strict, forward, last_of_ties, matched
        )


def match_merged(
    const uint32_t[::1] ask_order,    # IN   [asks] the questions in ascending order of time
    const int32_t[::1] ask_code,      # IN   [asks] group of each question
    const tick_t[::1] ask_time,       # IN   [asks]
    tuple ask_unit,
    const int32_t[::1] fact_code,     # IN   [facts] group of each fact, or -1: no candidate
    const tick_t[::1] fact_time,      # IN   [facts] ascending, whatever the group
    tuple fact_unit,
    bint strict,
    bint forward,
    bint last_of_ties,
    int64_t[::1] latest,              # SCRATCH  [groups]
    int64_t[::1] matched,             # OUT  [asks] the fact, or -1
):
    """As match_sorted, by one walk along both sides in time that remembers the latest fact of each group."""
    cdef Units units = units_of(ask_unit, fact_unit)
    cdef Py_ssize_t i, asks = ask_time.shape[0], facts = fact_time.shape[0]
    cdef int64_t row, ask
    cdef int32_t code
    cdef tick_t bound
    cdef bint has
    if ask_order.shape[0] != asks or ask_code.shape[0] != asks or matched.shape[0] != asks or fact_code.shape[0] != facts:
        raise ValueError("arrays differ in length")
    with nogil:
        latest[:] = -1
        if not forward:
            row = 0
            for i in range(asks):
                ask = ask_order[i]
                if find_bound(ask_time[ask], &units, strict, &bound):
                    while row < facts and fact_time[row] <= bound:
                        if fact_code[row] >= 0:
                            latest[fact_code[row]] = row
                        row += 1
                matched[ask] = latest[ask_code[ask]]
        else:
            row = facts - 1
            for i in range(asks - 1, -1, -1):
                ask = ask_order[i]
                has = find_bound(ask_time[ask], &units, not strict, &bound)
                while row >= 0 and not (has and fact_time[row] <= bound):
                    code = fact_code[row]
                    if code >= 0 and not (last_of_ties and latest[code] >= 0 and fact_time[latest[code]] == fact_time[row]):
                        latest[code] = row
                    row -= 1
                matched[ask] = latest[ask_code[ask]]


cdef void lay_bounds(
    const int64_t[::1] ask_offsets, const tick_t[::1] ask_time, const Units* units, bint before, tick_t[::1] bounds, int64_t[::1] bounded
) noexcept nogil:
    """The bound of each question. Those without come first in their group, for nothing lies before them; bounded: where the others begin."""
    cdef Py_ssize_t group, ask
    for group in range(bounded.shape[0]):
        bounded[group] = ask_offsets[group]
        for ask in range(ask_offsets[group], ask_offsets[group + 1]):
            if not find_bound(ask_time[ask], units, before, &bounds[ask]):
                bounded[group] = ask + 1


cdef inline int64_t first_reaching(const tick_t* bounds, int64_t low, int64_t high, tick_t time) noexcept nogil:
    """First of [low, high) whose bound is at or after the time."""
    cdef int64_t half, left = high - low
    while left > 0:
        half = (left + 1) >> 1
        low += half if bounds[low + half - 1] < time else 0
        left -= half
    return low


cdef inline void fetch_bounds(const tick_t* bounds, int64_t begin, int64_t end) noexcept nogil:
    cdef int64_t place = begin, last = min(end, begin + MOST_FETCHED)
    while place < last:
        prefetch(bounds + place)
        place += VALUES_OF_LINE


def match_streamed(
    const int64_t[::1] ask_offsets,   # IN   [groups + 1]
    const tick_t[::1] ask_time,       # IN   [asks] ascending within a group
    tuple ask_unit,
    const int32_t[::1] fact_code,     # IN   [facts] group of each fact, or -1: no candidate
    const tick_t[::1] fact_time,      # IN   [facts] in any order
    tuple fact_unit,
    bint strict,
    bint forward,
    bint last_of_ties,
    tick_t[::1] bounds,               # SCRATCH  [asks]
    tick_t[::1] best_time,            # SCRATCH  [asks]
    int64_t[::1] bounded,             # SCRATCH  [groups]
    int64_t[::1] matched,             # OUT  [asks] the fact, or -1
):
    """As match_sorted, for facts in any order: each is given to the first question it could answer, and passed on to those beyond."""
    cdef Units units = units_of(ask_unit, fact_unit)
    cdef Py_ssize_t asks = ask_time.shape[0], facts = fact_time.shape[0], groups = ask_offsets.shape[0] - 1, group, ask
    cdef int64_t row, place, begin, end, first, last
    cdef int64_t places[BATCH]
    cdef int32_t code
    cdef tick_t time
    if ask_offsets[groups] != asks or matched.shape[0] != asks or bounds.shape[0] != asks or best_time.shape[0] != asks:
        raise ValueError("the groups do not fit the questions")
    if bounded.shape[0] != groups or fact_code.shape[0] != facts:
        raise ValueError("arrays differ in length")
    with nogil:
        lay_bounds(ask_offsets, ask_time, &units, strict != forward, bounds, bounded)
        matched[:] = -1
        first = 0
        while first < facts:
            last = min(first + BATCH, facts)
            for row in range(first, last):
                if row + BATCH < facts and fact_code[row + BATCH] >= 0:
                    prefetch(&ask_offsets[fact_code[row + BATCH]])
                    prefetch(&bounded[fact_code[row + BATCH]])
                if fact_code[row] >= 0:
                    fetch_bounds(&bounds[0], ask_offsets[fact_code[row]], ask_offsets[fact_code[row] + 1])
            for row in range(first, last):
                code = fact_code[row]
                places[row - first] = -1
                if code < 0:
                    continue
                place = first_reaching(&bounds[0], bounded[code], ask_offsets[code + 1], fact_time[row]) - forward
                if ask_offsets[code] <= place < ask_offsets[code + 1]:
                    places[row - first] = place
                    prefetch(&matched[0] + place)
                    prefetch(&best_time[0] + place)
            for row in range(first, last):
                place, time = places[row - first], fact_time[row]
                if place >= 0 and (
                    matched[place] < 0
                    or (time < best_time[place] if forward else time > best_time[place])
                    or (time == best_time[place] and (last_of_ties or not forward))
                ):
                    matched[place] = row
                    best_time[place] = time
            first = last
        for group in range(groups):
            begin, end = ask_offsets[group], ask_offsets[group + 1]
            if forward:
                for ask in range(end - 2, begin - 1, -1):
                    if matched[ask] < 0:
                        matched[ask] = matched[ask + 1]
            else:
                for ask in range(begin + 1, end):
                    if matched[ask] < 0:
                        matched[ask] = matched[ask - 1]


def choose_nearer(
    const tick_t[::1] ask_time,       # IN   [asks]
    tuple ask_unit,
    const tick_t[::1] fact_time,      # IN   [facts]
    tuple fact_unit,
    const int64_t[::1] later,         # IN   [asks] a fact not before the question, or -1
    int64_t[::1] matched,             # INOUT [asks] a fact not after the question, or -1; then the nearer of the two, the later if they tie
):
    """Take the later match where it is at least as near."""
    cdef Units units = units_of(ask_unit, fact_unit)
    cdef Py_ssize_t i
    cdef wide_t moment
    if later.shape[0] != ask_time.shape[0] or matched.shape[0] != ask_time.shape[0]:
        raise ValueError("arrays differ in length")
    with nogil:
        for i in range(ask_time.shape[0]):
            if later[i] < 0:
                continue
            if matched[i] < 0:
                matched[i] = later[i]
            elif tick_t is double:
                if double_apart(ask_time[i], fact_time[later[i]]) <= double_apart(ask_time[i], fact_time[matched[i]]):
                    matched[i] = later[i]
            else:
                moment = widen(ask_time[i], units.ask_scale, units.ask_high)
                if apart(moment, widen(fact_time[later[i]], units.fact_scale, units.fact_high)) <= apart(
                    moment, widen(fact_time[matched[i]], units.fact_scale, units.fact_high)
                ):
                    matched[i] = later[i]


cdef inline double double_apart(double one, double other) noexcept nogil:
    return 0.0 if one == other else fabs(one - other)


def drop_distant(
    const tick_t[::1] ask_time,       # IN   [asks]
    tuple ask_unit,
    const tick_t[::1] fact_time,      # IN   [facts]
    tuple fact_unit,
    tolerance,                        # IN   an int below 2^64 for ticks, a double for doubles
    int64_t[::1] matched,             # INOUT [asks] the fact, or -1; then -1 where it is farther off than the tolerance
):
    """Undo matches that are too far off."""
    cdef Units units = units_of(ask_unit, fact_unit)
    cdef Py_ssize_t i
    cdef double most_double = 0
    cdef uint64_t most = 0
    if matched.shape[0] != ask_time.shape[0]:
        raise ValueError("arrays differ in length")
    if tick_t is double:
        most_double = tolerance
    else:
        most = tolerance
    with nogil:
        for i in range(ask_time.shape[0]):
            if i + AHEAD < ask_time.shape[0] and matched[i + AHEAD] >= 0:
                prefetch(&fact_time[0] + matched[i + AHEAD])
            if matched[i] < 0:
                continue
            if tick_t is double:
                if not double_apart(ask_time[i], fact_time[matched[i]]) <= most_double:
                    matched[i] = -1
            else:
                if apart(
                    widen(ask_time[i], units.ask_scale, units.ask_high), widen(fact_time[matched[i]], units.fact_scale, units.fact_high)
                ) > most:
                    matched[i] = -1


def bound_ticks(
    const int64_t[::1] ticks,         # IN   [n]
    tuple unit,
    tuple other_unit,
    int64_t[::1] bounds,              # OUT  [n] the last tick of the other unit at or before each; -2^63 if there is none
):
    """The same moments in another unit, rounded down."""
    cdef Units units = units_of(unit, other_unit)
    cdef Py_ssize_t i
    if bounds.shape[0] != ticks.shape[0]:
        raise ValueError("arrays differ in length")
    with nogil:
        for i in range(ticks.shape[0]):
            if not find_bound(ticks[i], &units, False, &bounds[i]):
                bounds[i] = INT64_MIN


def is_ascending(const tick_t[::1] values):
    """Whether no value is below the one before it."""
    cdef Py_ssize_t i
    cdef bint ascends = True
    with nogil:
        for i in range(1, values.shape[0]):
            if values[i] < values[i - 1]:
                ascends = False
                break
    return ascends
