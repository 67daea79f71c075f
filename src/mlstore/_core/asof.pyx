"""As-of search: for each question (key, time) the latest admissible fact, in the total order (time, created, seq)."""

from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint8_t, uint32_t

from mlstore._core.prefetch cimport prefetch

cdef int64_t NULL_TIME = INT64_MIN

cdef enum:
    AHEAD = 8                   # groups between a fetch of their rows' times and its use
    TIMES_OF_LINE = 8           # times in a cache line
    FEW_TIMES = 1024            # up to here a plain bisection is fastest
    FEW_ASKS = 4                # up to here it is looked first whether a group needs anything of a block


cdef inline int64_t first_after_between(const int64_t[::1] time, int64_t low, int64_t high, int64_t bound) noexcept nogil:
    """First row of [low, high) whose time is greater than the bound. Without branches: no processor can guess what a bisection finds."""
    cdef int64_t half, left = high - low
    while left > 0:
        half = (left + 1) >> 1
        low += half if time[low + half - 1] <= bound else 0
        left -= half
    return low


cdef inline int64_t first_after(const int64_t[::1] time, int64_t low, int64_t high, int64_t bound) noexcept nogil:
    """First row of [low, high) whose time is greater than the bound: gallop from the left, then bisect."""
    cdef int64_t step = 1, middle
    while low + step <= high and time[low + step - 1] <= bound:
        low += step
        step <<= 1
    if low + step - 1 < high:
        high = low + step - 1
    return first_after_between(time, low, high, bound)


cdef inline int64_t move_cursor(
    const int64_t[::1] time, int64_t begin, int64_t cursor, int64_t end, int64_t last_bound, int64_t bound
) noexcept nogil:
    """First row after the bound, given the one after the last bound: questions that ascend only ever look ahead."""
    if end - begin <= FEW_TIMES:
        return first_after_between(time, begin, end, bound)
    if bound >= last_bound:
        return first_after(time, cursor, end, bound)
    return first_after_between(time, begin, cursor, bound)


cdef inline void fetch_times(
    const int64_t[::1] time, const int64_t[::1] offsets, int64_t position, int64_t asks
) noexcept nogil:
    """Have the times of a key at hand when its questions come: the lines that so many bisections will touch."""
    cdef int64_t row = offsets[position], end = offsets[position + 1], step
    if asks == 0:
        return
    step = max(TIMES_OF_LINE, (end - row) // (4 * asks))
    while row < end:
        prefetch(&time[0] + row)
        row += step


cdef inline bint may_win(int64_t latest, int32_t best_source, int64_t best_time, int64_t first_time, int64_t last_time) noexcept nogil:
    """Whether a block of facts from first_time to last_time may hold a better answer. Equal times may: other clocks decide then."""
    return latest >= first_time and (best_source < 0 or best_time <= last_time)


cdef void search_backward(
    const int64_t[::1] ask_offsets,
    const int64_t[::1] ask_latest,
    const int64_t[::1] ask_oldest,
    const int64_t[::1] ask_known,
    const int64_t[::1] key_position,
    const int64_t[::1] fact_offsets,
    const int64_t[::1] fact_time,
    int64_t first_time,
    int64_t last_time,
    const int64_t[::1] fact_created,
    int64_t same_created,
    const int64_t[::1] fact_seq,
    int64_t same_seq,
    const uint8_t[::1] hidden,
    int64_t last_seq,
    int32_t source,
    int64_t[::1] best_time,
    int64_t[::1] best_created,
    int64_t[::1] best_seq,
    int32_t[::1] best_source,
    uint32_t[::1] best_row,
) noexcept nogil:
    cdef Py_ssize_t group, ask, asks, groups = key_position.shape[0]
    cdef int64_t position, begin, end, cursor, row, when, created, seq, last_bound
    cdef bint has_oldest = ask_oldest.shape[0] > 0, has_known = ask_known.shape[0] > 0
    cdef bint has_created = fact_created.shape[0] > 0, has_seq = fact_seq.shape[0] > 0, has_hidden = hidden.shape[0] > 0
    created = same_created
    seq = same_seq
    if not has_seq and seq > last_seq:
        return
    for group in range(groups):
        if group + AHEAD < groups and key_position[group + AHEAD] >= 0:
            ask, asks = ask_offsets[group + AHEAD], ask_offsets[group + AHEAD + 1] - ask_offsets[group + AHEAD]
            if asks <= FEW_ASKS:
                while asks > 0 and not may_win(ask_latest[ask], best_source[ask], best_time[ask], first_time, last_time):
                    ask, asks = ask + 1, asks - 1
            fetch_times(fact_time, fact_offsets, key_position[group + AHEAD], asks)
        position = key_position[group]
        if position < 0:
            continue
        begin = fact_offsets[position]
        end = fact_offsets[position + 1]
        cursor, last_bound = begin, NULL_TIME
        for ask in range(ask_offsets[group], ask_offsets[group + 1]):
            if not may_win(ask_latest[ask], best_source[ask], best_time[ask], first_time, last_time):
                continue
            cursor = move_cursor(fact_time, begin, cursor, end, last_bound, ask_latest[ask])
            last_bound = ask_latest[ask]
            if has_known and not has_created and (created > ask_known[ask] or created == NULL_TIME):
                continue
            row = cursor - 1
            while row >= begin:
                when = fact_time[row]
                if has_oldest and when < ask_oldest[ask]:
                    break
                if best_source[ask] >= 0 and when < best_time[ask]:
                    break
                if has_created:
                    created = fact_created[row]
                if has_seq:
                    seq = fact_seq[row]
                if (
                    seq > last_seq
                    or (has_hidden and hidden[row])
                    or (has_known and (created > ask_known[ask] or created == NULL_TIME))
                ):
                    row -= 1
                    continue
                # Equal in all three only within one sorted run, whose blocks are searched in order: the later row wins.
                if (
                    best_source[ask] < 0
                    or when > best_time[ask]
                    or created > best_created[ask]
                    or (created == best_created[ask] and seq >= best_seq[ask])
                ):
                    best_time[ask] = when
                    best_created[ask] = created
                    best_seq[ask] = seq
                    best_source[ask] = source
                    best_row[ask] = <uint32_t> row
                break


def match_backward(
    const int64_t[::1] ask_offsets,   # IN   [groups + 1] questions of group g are ask_offsets[g] : ask_offsets[g + 1]
    const int64_t[::1] ask_latest,    # IN   [asks] latest admissible event time; fastest if it ascends within a group
    const int64_t[::1] ask_oldest,    # IN   [asks] oldest admissible event time, or empty: no bound
    const int64_t[::1] ask_known,     # IN   [asks] latest admissible creation time, or empty: no bound
    const int64_t[::1] key_position,  # IN   [groups] the group's key among the facts' keys, or -1
    const int64_t[::1] fact_offsets,  # IN   [keys + 1] rows of a key
    const int64_t[::1] fact_time,     # IN   [rows] ascending within a key
    int64_t first_time,               # IN   no fact is before it
    int64_t last_time,                # IN   no fact is after it
    const int64_t[::1] fact_created,  # IN   [rows], or empty: all are same_created
    int64_t same_created,
    const int64_t[::1] fact_seq,      # IN   [rows], or empty: all are same_seq
    int64_t same_seq,
    const uint8_t[::1] hidden,        # IN   [rows] not 0: no candidate; or empty
    int64_t last_seq,                 # IN   rows written later are no candidates
    int32_t source,                   # IN   what best_source shall say of a winner of this call
    int64_t[::1] best_time,           # INOUT [asks] the winner so far
    int64_t[::1] best_created,
    int64_t[::1] best_seq,
    int32_t[::1] best_source,         # INOUT [asks] -1: none so far
    uint32_t[::1] best_row,
):
    """Improve the best answers with the facts of one block."""
    cdef Py_ssize_t asks = ask_latest.shape[0]
    if key_position.shape[0] + 1 != ask_offsets.shape[0] or ask_offsets[ask_offsets.shape[0] - 1] > asks:
        raise ValueError("ask_offsets does not fit the questions")
    if (ask_oldest.shape[0] not in (0, asks)) or (ask_known.shape[0] not in (0, asks)):
        raise ValueError("bounds do not fit the questions")
    if best_time.shape[0] != asks or best_created.shape[0] != asks or best_seq.shape[0] != asks:
        raise ValueError("answers do not fit the questions")
    if best_source.shape[0] != asks or best_row.shape[0] != asks:
        raise ValueError("answers do not fit the questions")
    cdef Py_ssize_t rows = fact_time.shape[0]
    if fact_offsets[fact_offsets.shape[0] - 1] > rows:
        raise ValueError("fact_offsets does not fit the facts")
    if (fact_created.shape[0] not in (0, rows)) or (fact_seq.shape[0] not in (0, rows)) or (hidden.shape[0] not in (0, rows)):
        raise ValueError("facts differ in length")
    with nogil:
        search_backward(
            ask_offsets, ask_latest, ask_oldest, ask_known, key_position, fact_offsets, fact_time, first_time, last_time,
            fact_created, same_created, fact_seq, same_seq, hidden, last_seq, source,
            best_time, best_created, best_seq, best_source, best_row,
        )


def match_next(
    const int64_t[::1] ask_offsets,   # IN   [groups + 1]
    const int64_t[::1] ask_latest,    # IN   [asks] fastest if it ascends within a group
    const int64_t[::1] key_position,  # IN   [groups]
    const int64_t[::1] fact_offsets,  # IN   [keys + 1]
    const int64_t[::1] fact_time,     # IN   [rows] ascending within a key
    const int64_t[::1] fact_seq,      # IN   [rows], or empty: all are same_seq
    int64_t same_seq,
    const uint8_t[::1] hidden,        # IN   [rows], or empty
    int64_t last_seq,
    int64_t[::1] next_time,           # INOUT [asks] earliest time after latest so far
):
    """Lower next_time to the earliest admissible fact of one block that is later than `latest`."""
    cdef Py_ssize_t group, ask, asks = ask_latest.shape[0], rows = fact_time.shape[0]
    cdef int64_t cursor, row, begin, end, seq = same_seq, last_bound
    if key_position.shape[0] + 1 != ask_offsets.shape[0] or ask_offsets[ask_offsets.shape[0] - 1] > asks:
        raise ValueError("ask_offsets does not fit the questions")
    if next_time.shape[0] != asks or fact_offsets[fact_offsets.shape[0] - 1] > rows:
        raise ValueError("arrays differ in length")
    if (fact_seq.shape[0] not in (0, rows)) or (hidden.shape[0] not in (0, rows)):
        raise ValueError("facts differ in length")
    cdef bint has_seq = fact_seq.shape[0] > 0, has_hidden = hidden.shape[0] > 0
    with nogil:
        for group in range(key_position.shape[0]):
            if key_position[group] < 0:
                continue
            begin = fact_offsets[key_position[group]]
            end = fact_offsets[key_position[group] + 1]
            cursor, last_bound = begin, NULL_TIME
            for ask in range(ask_offsets[group], ask_offsets[group + 1]):
                cursor = move_cursor(fact_time, begin, cursor, end, last_bound, ask_latest[ask])
                last_bound = ask_latest[ask]
                for row in range(cursor, end):
                    if fact_time[row] >= next_time[ask]:
                        break
                    if has_seq:
                        seq = fact_seq[row]
                    if seq > last_seq or (has_hidden and hidden[row]):
                        continue
                    next_time[ask] = fact_time[row]
                    break


def find_ranges(
    const int64_t[::1] ask_position,  # IN   [asks] key among the facts' keys, or -1
    const int64_t[::1] ask_first,     # IN   [asks] earliest time, inclusive
    const int64_t[::1] ask_last,      # IN   [asks] latest time, inclusive
    const int64_t[::1] fact_offsets,  # IN   [keys + 1]
    const int64_t[::1] fact_time,     # IN   [rows] ascending within a key
    int64_t[::1] begin,               # OUT  [asks]
    int64_t[::1] end,                 # OUT  [asks]
):
    """Rows [begin, end) of each question's key with first <= time <= last."""
    cdef Py_ssize_t ask, asks = ask_position.shape[0]
    cdef int64_t low, high
    if ask_first.shape[0] != asks or ask_last.shape[0] != asks or begin.shape[0] != asks or end.shape[0] != asks:
        raise ValueError("arrays differ in length")
    if fact_offsets[fact_offsets.shape[0] - 1] > fact_time.shape[0]:
        raise ValueError("fact_offsets does not fit the facts")
    with nogil:
        for ask in range(asks):
            begin[ask] = 0
            end[ask] = 0
            if ask_position[ask] < 0 or ask_first[ask] > ask_last[ask]:
                continue
            low = fact_offsets[ask_position[ask]]
            high = fact_offsets[ask_position[ask] + 1]
            begin[ask] = low if ask_first[ask] == NULL_TIME else first_after(fact_time, low, high, ask_first[ask] - 1)
            end[ask] = first_after(fact_time, begin[ask], high, ask_last[ask])
