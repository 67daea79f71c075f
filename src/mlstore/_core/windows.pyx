"""Windows: states of the events in intervals, merged in the canonical order, from events alone or from tiles that are kept.

An interval is cut into the widest tiles that lie in it, aligned to the epoch, and single events at its edges; the parts are merged from left
to right. Merging one part into nothing copies it: so it makes no difference whether tiles that hold nothing are there.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t

from mlstore._core.states cimport Measure, add_events, merge_tiles, set_nothing, settle, words_of
from mlstore._core.tiles cimport MOST_PARTS, Layout, Part, Tiles, tile_last


cdef inline int64_t first_from(const int64_t[::1] sorted_times, int64_t low, int64_t high, int64_t bound) noexcept nogil:
    """First of [low, high) at or after the bound."""
    cdef int64_t half, left = high - low
    while left > 0:
        half = (left + 1) >> 1
        low += half if sorted_times[low + half - 1] < bound else 0
        left -= half
    return low


cdef inline int64_t first_after(const int64_t[::1] sorted_times, int64_t low, int64_t high, int64_t bound) noexcept nogil:
    """First of [low, high) after the bound."""
    return high if bound == INT64_MAX else first_from(sorted_times, low, high, bound + 1)


cdef inline int64_t move_from(const int64_t[::1] times, int64_t low, int64_t cursor, int64_t high, int64_t bound) noexcept nogil:
    """first_from, given where the last search ended: moments that ascend only ever look ahead."""
    cdef int64_t step = 1
    if cursor > low and times[cursor - 1] >= bound:
        return first_from(times, low, cursor, bound)
    while cursor + step <= high and times[cursor + step - 1] < bound:
        cursor += step
        step <<= 1
    return first_from(times, cursor, min(high, cursor + step - 1), bound)


def find_events(
    const int64_t[::1] event_offsets,   # IN   [keys + 1]
    const int64_t[::1] time,            # IN   [events] ascending within a key
    const int64_t[::1] moment_offsets,  # IN   [keys + 1]
    const int64_t[:, ::1] low,          # IN   [windows, moments] fastest if it ascends within a key
    const int64_t[:, ::1] high,         # IN   [windows, moments]
    int64_t[:, ::1] begin,              # OUT  [windows, moments]
    int64_t[:, ::1] end,                # OUT  [windows, moments]
):
    """The events [begin, end) with low <= time <= high of each moment's key; begin == end where there are none."""
    cdef Py_ssize_t keys = event_offsets.shape[0] - 1, windows = low.shape[0], moments = low.shape[1], key, w, moment
    cdef int64_t first, last, start, stop
    if keys < 0 or moment_offsets.shape[0] != keys + 1 or event_offsets[keys] > time.shape[0] or moment_offsets[keys] > moments:
        raise ValueError("offsets do not fit the events and moments")
    if high.shape[0] != windows or high.shape[1] != moments:
        raise ValueError("arrays differ in length")
    if begin.shape[0] != windows or begin.shape[1] != moments or end.shape[0] != windows or end.shape[1] != moments:
        raise ValueError("arrays differ in length")
    with nogil:
        for key in range(keys):
            start, stop = event_offsets[key], event_offsets[key + 1]
            for w in range(windows):
                first, last = start, start
                for moment in range(moment_offsets[key], moment_offsets[key + 1]):
                    first = move_from(time, start, first, stop, low[w, moment])
                    last = stop if high[w, moment] == INT64_MAX else move_from(time, start, last, stop, high[w, moment] + 1)
                    begin[w, moment] = first
                    end[w, moment] = max(first, last)


cdef void find_span(
    const int64_t[:, ::1] begin, const int64_t[:, ::1] end, int64_t first, int64_t last, int64_t* lowest, int64_t* highest
) noexcept nogil:
    """The events that any window of the moments [first, last) holds."""
    cdef Py_ssize_t w, moment
    lowest[0], highest[0] = INT64_MAX, INT64_MIN
    for w in range(begin.shape[0]):
        for moment in range(first, last):
            if begin[w, moment] < end[w, moment]:
                lowest[0] = min(lowest[0], begin[w, moment])
                highest[0] = max(highest[0], end[w, moment])


def fold(
    const int64_t[::1] event_offsets,   # IN   [keys + 1] events of a key
    const int64_t[::1] time,            # IN   [events] ascending within a key
    measures,                           # IN   (kind, mask, values, counted) of each column
    const int64_t[::1] widths,          # IN   [levels] each a multiple of the one before; none: events are added one by one
    const int64_t[::1] moment_offsets,  # IN   [keys + 1] moments of a key
    const int64_t[:, ::1] low,          # IN   [windows, moments] first tick of the interval; the least tick: open
    const int64_t[:, ::1] high,         # IN   [windows, moments] its last tick; the greatest tick: open
    const int64_t[:, ::1] begin,        # IN   [windows, moments] its events: find_events, or a window of rows
    const int64_t[:, ::1] end,          # IN   [windows, moments]
    const uint8_t[:, ::1] wanted,       # IN   [windows, measures] 0: left out
    int64_t[:, :, ::1] states,          # OUT  [windows, words, moments]
):
    """The states of the events of intervals, in the canonical order."""
    cdef Py_ssize_t keys = event_offsets.shape[0] - 1, windows = low.shape[0], moments = low.shape[1], key, w, moment, m
    cdef Layout layout = Layout(measures, time.shape[0])
    cdef Tiles tiles = Tiles(widths, layout.words)
    cdef Part parts[MOST_PARTS]
    cdef int count, i
    cdef int64_t base, top, place, word
    cdef int64_t state[16]
    cdef const Measure* measure
    if keys < 0 or moment_offsets.shape[0] != keys + 1 or event_offsets[keys] > time.shape[0] or moment_offsets[keys] > moments:
        raise ValueError("offsets do not fit the events and moments")
    if high.shape[0] != windows or high.shape[1] != moments:
        raise ValueError("arrays differ in length")
    if begin.shape[0] != windows or begin.shape[1] != moments or end.shape[0] != windows or end.shape[1] != moments:
        raise ValueError("arrays differ in length")
    if wanted.shape[0] != windows or wanted.shape[1] != layout.count:
        raise ValueError("wanted does not fit the windows and measures")
    if states.shape[0] != windows or states.shape[1] != layout.words or states.shape[2] != moments:
        raise ValueError("states do not fit the windows, words and moments")
    with nogil:
        for key in range(keys):
            find_span(begin, end, moment_offsets[key], moment_offsets[key + 1], &base, &top)
            if base < top:
                if base < event_offsets[key] or top > event_offsets[key + 1]:
                    with gil:
                        raise ValueError("a window holds events of another key")
                tiles.build(layout, &time[0], base, top)
            else:
                base = 0
            for moment in range(moment_offsets[key], moment_offsets[key + 1]):
                for w in range(windows):
                    count = 0
                    if begin[w, moment] < end[w, moment]:
                        count = tiles.cut(base, begin[w, moment], end[w, moment], low[w, moment], high[w, moment], parts)
                    for m in range(layout.count):
                        if not wanted[w, m]:
                            continue
                        measure = &layout.measures[m]
                        place = measure.place
                        set_nothing(measure, state)
                        for i in range(count):
                            if parts[i].level < 0:
                                add_events(measure, base + parts[i].begin, base + parts[i].end, state)
                            else:
                                merge_tiles(measure, tiles.levels[parts[i].level].records, layout.words, parts[i].begin, parts[i].end, state)
                        settle(measure, state)
                        for word in range(words_of(measure.kind, measure.mask)):
                            states[w, place + word, moment] = state[word]


cdef inline int64_t first_ending_after(const int64_t[::1] start, int64_t low, int64_t high, int64_t width, int64_t bound) noexcept nogil:
    """First tile of [low, high) whose last tick is after the bound."""
    cdef int64_t half, left = high - low
    while left > 0:
        half = (left + 1) >> 1
        low += half if tile_last(start[low + half - 1], width) <= bound else 0
        left -= half
    return low


cdef struct Covered:
    bint any
    int64_t first               # tick
    int64_t last
    int before                  # parts that lie before what was covered first
    int after                   # parts that lie after it


cdef void cover(
    Covered* covered, int64_t level, const int64_t[::1] start, int64_t begin, int64_t end, int64_t width, Part* before, Part* after
) noexcept nogil:
    """Take the tiles [begin, end) of a level, or events, to both sides of what wider tiles cover."""
    cdef int64_t middle
    if begin >= end:
        return
    if not covered.any:
        before[0].level, before[0].begin, before[0].end = level, begin, end
        covered.before, covered.any = 1, True
        covered.first, covered.last = start[begin], tile_last(start[end - 1], width)
        return
    middle = first_from(start, begin, end, covered.first)
    if begin < middle:
        before[covered.before].level, before[covered.before].begin, before[covered.before].end = level, begin, middle
        covered.before += 1
        covered.first = start[begin]
    middle = first_after(start, middle, end, covered.last)
    if middle < end:
        after[covered.after].level, after[covered.after].begin, after[covered.after].end = level, middle, end
        covered.after += 1
        covered.last = tile_last(start[end - 1], width)


def fold_stored(
    measures,                           # IN   (kind, mask, values, counted) of each column
    const int64_t[::1] widths,          # IN   [levels]
    const int64_t[:, ::1] tile_offsets, # IN   [levels, keys + 1] the tiles of a key at a level
    const int64_t[::1] tile_start,      # IN   [tiles] first tick, ascending within a key and level
    const int64_t[:, ::1] records,      # IN   [tiles, words]
    const int64_t[::1] event_offsets,   # IN   [keys + 1]
    const int64_t[::1] time,            # IN   [events] ascending within a key
    const int64_t[::1] asked,           # IN   [questions] the key
    const int64_t[:, ::1] low,          # IN   [windows, questions]
    const int64_t[:, ::1] high,         # IN   [windows, questions]
    const uint8_t[:, ::1] wanted,       # IN   [windows, measures]
    int64_t[:, :, ::1] states,          # OUT  [windows, words, questions]
):
    """As fold, from tiles that are kept. Of each level every tile that lies in the interval and not in a wider one must be there,
    and every event that lies in no tile; it does no harm if more are."""
    cdef Py_ssize_t keys = event_offsets.shape[0] - 1, windows = low.shape[0], questions = asked.shape[0], w, ask, m
    cdef Layout layout = Layout(measures, time.shape[0])
    cdef Tiles checked = Tiles(widths, layout.words)
    cdef int depth = checked.depth, i, level
    cdef Part before[MOST_PARTS]
    cdef Part after[MOST_PARTS]
    cdef Part* part
    cdef Covered covered
    cdef int64_t first, last, place, word
    cdef int64_t state[16]
    cdef const Measure* measure
    if tile_offsets.shape[0] != depth or (depth and tile_offsets.shape[1] != keys + 1):
        raise ValueError("offsets do not fit the levels and keys")
    if (depth and tile_offsets[depth - 1, keys] > tile_start.shape[0]) or records.shape[0] != tile_start.shape[0]:
        raise ValueError("offsets and records do not fit the tiles")
    if records.shape[1] != layout.words:
        raise ValueError("records do not fit the measures")
    if keys < 0 or event_offsets[keys] > time.shape[0]:
        raise ValueError("offsets do not fit the events")
    if low.shape[1] != questions or high.shape[0] != windows or high.shape[1] != questions:
        raise ValueError("arrays differ in length")
    if wanted.shape[0] != windows or wanted.shape[1] != layout.count:
        raise ValueError("wanted does not fit the windows and measures")
    if states.shape[0] != windows or states.shape[1] != layout.words or states.shape[2] != questions:
        raise ValueError("states do not fit the windows, words and questions")
    with nogil:
        for ask in range(questions):
            if not 0 <= asked[ask] < keys:
                with gil:
                    raise ValueError("a question about no key")
            for w in range(windows):
                covered.any, covered.before, covered.after = False, 0, 0
                for level in range(depth - 1, -1, -1):
                    first = first_from(tile_start, tile_offsets[level, asked[ask]], tile_offsets[level, asked[ask] + 1], low[w, ask])
                    last = first_ending_after(tile_start, first, tile_offsets[level, asked[ask] + 1], widths[level], high[w, ask])
                    cover(&covered, level, tile_start, first, last, widths[level], before, after)
                first = first_from(time, event_offsets[asked[ask]], event_offsets[asked[ask] + 1], low[w, ask])
                last = first_after(time, first, event_offsets[asked[ask] + 1], high[w, ask])
                cover(&covered, -1, time, first, last, 1, before, after)
                for m in range(layout.count):
                    if not wanted[w, m]:
                        continue
                    measure = &layout.measures[m]
                    place = measure.place
                    set_nothing(measure, state)
                    for i in range(covered.before + covered.after):
                        part = &before[covered.before - 1 - i] if i < covered.before else &after[i - covered.before]
                        if part.level < 0:
                            add_events(measure, part.begin, part.end, state)
                        else:
                            merge_tiles(measure, &records[0, 0], layout.words, part.begin, part.end, state)
                    settle(measure, state)
                    for word in range(words_of(measure.kind, measure.mask)):
                        states[w, place + word, ask] = state[word]
