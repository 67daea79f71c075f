"""Windows: states of the events in intervals, merged in the canonical order, from events alone.

An interval is cut into the widest tiles that lie in it, aligned to the epoch, and single events at its edges; the parts are merged from left
to right. Merging one part into nothing copies it: so it makes no difference whether tiles that hold nothing are there.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t

from mlstore._core.searches cimport first_from
from mlstore._core.states cimport Measure, add_events, merge_tiles, set_nothing, settle, words_of
from mlstore._core.tiles cimport MOST_PARTS, Layout, Part, Tiles


cdef inline int64_t move_from(const int64_t* times, int64_t low, int64_t cursor, int64_t high, int64_t bound) noexcept nogil:
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
    cdef const int64_t* times = &time[0] if time.shape[0] else NULL
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
                    first = move_from(times, start, first, stop, low[w, moment])
                    last = stop if high[w, moment] == INT64_MAX else move_from(times, start, last, stop, high[w, moment] + 1)
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
    const int64_t[:, ::1] begin,        # IN   [windows, moments] its events; those that come after `end` do not count
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
    cdef const int64_t* trimmed = NULL
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
                        if parts[count - 1].is_short:
                            trimmed = tiles.trim(layout, base, end[w, moment], parts[count - 1].level)
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
                                merge_tiles(
                                    measure, tiles.levels[parts[i].level].records, layout.words, parts[i].begin,
                                    parts[i].end - parts[i].is_short, state,
                                )
                                if parts[i].is_short:
                                    merge_tiles(measure, trimmed, layout.words, 0, 1, state)
                        settle(measure, state)
                        for word in range(words_of(measure.kind, measure.mask)):
                            states[w, place + word, moment] = state[word]
