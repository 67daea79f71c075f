"""Gather: copy chosen values of several sources to chosen slots of the answer.

Pick i takes row[i] of sources[source[i]] to slot[i]. Picks are in the order of the sources' memory as far as it goes, so that a source is
read forwards; what is read next is fetched ahead.
"""

from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from mlstore._core.prefetch cimport prefetch

cdef enum:
    AHEAD = 32                  # picks between a fetch and its use
    BLOCK_BITS = 14             # rows of a chunked column are looked up by blocks of so many


ctypedef fused word_t:
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef const uint8_t** find_bases(list sources) except NULL:
    """Where each source begins; NULL for None and for empty ones. To be freed."""
    cdef const uint8_t** bases = <const uint8_t**> malloc((len(sources) + 1) * sizeof(void*))
    cdef const uint8_t[::1] view
    cdef Py_ssize_t place
    if bases == NULL:
        raise MemoryError
    try:
        for place in range(len(sources)):
            bases[place] = NULL
            if sources[place] is not None:
                view = sources[place]
                if view.shape[0] > 0:
                    bases[place] = &view[0]
    except BaseException:
        free(bases)
        raise
    return bases


cdef void gather_words(
    const uint8_t** bases, const int32_t* source, const uint32_t* row, const uint32_t* slot, Py_ssize_t picks, word_t* answer
) noexcept nogil:
    cdef Py_ssize_t i, ahead
    cdef const word_t* base
    for i in range(picks):
        ahead = i + AHEAD
        if ahead < picks:
            prefetch(<const word_t*> bases[source[ahead]] + row[ahead])
            prefetch(answer + slot[ahead])
        base = <const word_t*> bases[source[i]]
        if base != NULL:
            answer[slot[i]] = base[row[i]]


cdef void gather_blobs(
    const uint8_t** bases,
    Py_ssize_t width,
    const int32_t* source,
    const uint32_t* row,
    const uint32_t* slot,
    Py_ssize_t picks,
    uint8_t* answer,
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(picks):
        if bases[source[i]] != NULL:
            memcpy(answer + slot[i] * width, bases[source[i]] + row[i] * width, width)


def pick_winners(
    const int32_t[::1] best_source,   # IN   [asks] -1: none
    const uint32_t[::1] best_row,     # IN   [asks]
    const uint32_t[::1] ask_slot,     # IN   [asks]
    int32_t[::1] source,              # OUT  [asks], the first `count` places
    uint32_t[::1] row,                # OUT
    uint32_t[::1] slot,               # OUT
    uint8_t[::1] found,               # OUT  [slots] 1 where something won; others stay
):
    """Keep the asks that have a winner. How many."""
    cdef Py_ssize_t i, asks = best_source.shape[0], count = 0
    if best_row.shape[0] != asks or ask_slot.shape[0] != asks:
        raise ValueError("winners and slots differ in length")
    if source.shape[0] < asks or row.shape[0] < asks or slot.shape[0] < asks:
        raise ValueError("picks are too short for the winners")
    with nogil:
        for i in range(asks):
            if best_source[i] >= 0:
                source[count] = best_source[i]
                row[count] = best_row[i]
                slot[count] = ask_slot[i]
                found[ask_slot[i]] = 1
                count += 1
    return count


cdef void take_words(const word_t* values, const uint32_t* places, Py_ssize_t count, word_t* answer) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        if i + AHEAD < count:
            prefetch(values + places[i + AHEAD])
        answer[i] = values[places[i]]


def take_fixed(
    const uint8_t[::1] values,        # IN   [any * width]
    Py_ssize_t width,                 # IN   bytes of one value
    const uint32_t[::1] places,       # IN   [n] in range
    uint8_t[::1] answer,              # OUT  [n * width]
):
    """answer[i] = values[places[i]], values of `width` bytes."""
    cdef Py_ssize_t i, count = places.shape[0]
    if answer.shape[0] != count * width:
        raise ValueError("places and answer differ in length")
    if count == 0 or width == 0:
        return
    with nogil:
        if width == 8:
            take_words[uint64_t](<const uint64_t*> &values[0], &places[0], count, <uint64_t*> &answer[0])
        elif width == 4:
            take_words[uint32_t](<const uint32_t*> &values[0], &places[0], count, <uint32_t*> &answer[0])
        elif width == 2:
            take_words[uint16_t](<const uint16_t*> &values[0], &places[0], count, <uint16_t*> &answer[0])
        elif width == 1:
            take_words[uint8_t](&values[0], &places[0], count, &answer[0])
        else:
            for i in range(count):
                memcpy(&answer[0] + i * width, &values[0] + places[i] * width, width)


cdef struct Chunks:
    const uint8_t** bases       # of each chunk: where row 0 would lie, if the column began with it
    const int64_t* ends         # the row behind each chunk
    const uint8_t** blocks      # the base of each block of rows; NULL where it reaches over several chunks
    Py_ssize_t count
    Py_ssize_t width


cdef inline const uint8_t* find_row(const Chunks* chunks, uint32_t row) noexcept nogil:
    cdef const uint8_t* base = chunks.blocks[row >> BLOCK_BITS]
    cdef Py_ssize_t low = 0, high, middle
    if base == NULL:
        high = chunks.count - 1
        while low < high:
            middle = (low + high) >> 1
            if row >= chunks.ends[middle]:
                low = middle + 1
            else:
                high = middle
        base = chunks.bases[low]
    return base + row * chunks.width


cdef void take_chunked_words(const Chunks* chunks, const uint32_t* places, Py_ssize_t count, word_t* answer) noexcept nogil:
    cdef const uint8_t* found[AHEAD]
    cdef Py_ssize_t i
    for i in range(min(count, <Py_ssize_t> AHEAD)):
        found[i] = find_row(chunks, places[i])
        prefetch(found[i])
    for i in range(count):
        answer[i] = (<const word_t*> found[i & (AHEAD - 1)])[0]
        if i + AHEAD < count:
            found[i & (AHEAD - 1)] = find_row(chunks, places[i + AHEAD])
            prefetch(found[i & (AHEAD - 1)])


cdef void find_blocks(const Chunks* chunks, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t row = 0, chunk = 0
    while row < rows:
        while row >= chunks.ends[chunk]:
            chunk += 1
        chunks.blocks[row >> BLOCK_BITS] = NULL
        if min(rows, row + (1 << BLOCK_BITS)) <= chunks.ends[chunk]:
            chunks.blocks[row >> BLOCK_BITS] = chunks.bases[chunk]
        row += 1 << BLOCK_BITS


def take_chunked(
    list sources,                     # IN   of uint8 [rows of the chunk * width], chunks of one column
    const int64_t[::1] starts,        # IN   [chunks + 1] first row of each chunk; the last: rows in all
    Py_ssize_t width,                 # IN   bytes of one value
    const uint32_t[::1] places,       # IN   [n] in range
    uint8_t[::1] answer,              # OUT  [n * width]
):
    """answer[i] = the value at row places[i] of a column in chunks, values of `width` bytes."""
    cdef Py_ssize_t i, count = places.shape[0], chunk, rows
    cdef Chunks chunks
    if starts.shape[0] != len(sources) + 1 or answer.shape[0] != count * width:
        raise ValueError("starts do not fit the chunks, or the answer the places")
    if count == 0 or width == 0:
        return
    rows = starts[starts.shape[0] - 1]
    chunks.bases = find_bases(sources)
    chunks.blocks = <const uint8_t**> malloc(((rows >> BLOCK_BITS) + 1) * sizeof(void*))
    if chunks.blocks == NULL:
        free(chunks.bases)
        raise MemoryError
    chunks.ends = &starts[1]
    chunks.count = len(sources)
    chunks.width = width
    with nogil:
        for chunk in range(chunks.count):
            chunks.bases[chunk] -= starts[chunk] * width
        find_blocks(&chunks, rows)
        if width == 8:
            take_chunked_words[uint64_t](&chunks, &places[0], count, <uint64_t*> &answer[0])
        elif width == 4:
            take_chunked_words[uint32_t](&chunks, &places[0], count, <uint32_t*> &answer[0])
        elif width == 2:
            take_chunked_words[uint16_t](&chunks, &places[0], count, <uint16_t*> &answer[0])
        elif width == 1:
            take_chunked_words[uint8_t](&chunks, &places[0], count, &answer[0])
        else:
            for i in range(count):
                memcpy(&answer[0] + i * width, find_row(&chunks, places[i]), width)
        free(chunks.blocks)
        free(chunks.bases)


def gather_fixed(
    list sources,                 # IN   of uint8 [rows * width], or None: its picks are left as they are
    Py_ssize_t width,             # IN   bytes of one value
    const int32_t[::1] source,    # IN   [picks]
    const uint32_t[::1] row,      # IN   [picks]
    const uint32_t[::1] slot,     # IN   [picks]
    uint8_t[::1] answer,          # OUT  [slots * width]
):
    """answer[slot[i]] = sources[source[i]][row[i]], values of `width` bytes."""
    cdef Py_ssize_t picks = check_picks(source, row, slot)
    cdef const uint8_t** bases
    if picks == 0:
        return
    bases = find_bases(sources)
    with nogil:
        if width == 8:
            gather_words[uint64_t](bases, &source[0], &row[0], &slot[0], picks, <uint64_t*> &answer[0])
        elif width == 4:
            gather_words[uint32_t](bases, &source[0], &row[0], &slot[0], picks, <uint32_t*> &answer[0])
        elif width == 2:
            gather_words[uint16_t](bases, &source[0], &row[0], &slot[0], picks, <uint16_t*> &answer[0])
        elif width == 1:
            gather_words[uint8_t](bases, &source[0], &row[0], &slot[0], picks, &answer[0])
        else:
            gather_blobs(bases, width, &source[0], &row[0], &slot[0], picks, &answer[0])
        free(bases)


def gather_bits(
    list bitmaps,                 # IN   of uint8, least significant bit first; None: every bit is 1
    const int64_t[::1] offset,    # IN   [sources] the bit of row 0
    const int32_t[::1] source,    # IN   [picks]
    const uint32_t[::1] row,      # IN   [picks]
    const uint32_t[::1] slot,     # IN   [picks]
    uint8_t[::1] answer,          # OUT  [slots] 0 or 1
):
    """answer[slot[i]] = bit row[i] of bitmaps[source[i]]."""
    cdef Py_ssize_t i, picks = check_picks(source, row, slot)
    cdef int64_t bit
    cdef const uint8_t** bases
    if offset.shape[0] != len(bitmaps):
        raise ValueError("bitmaps and offsets differ in length")
    if picks == 0:
        return
    bases = find_bases(bitmaps)
    with nogil:
        for i in range(picks):
            if bases[source[i]] == NULL:
                answer[slot[i]] = 1
            else:
                bit = <int64_t> row[i] + offset[source[i]]
                answer[slot[i]] = (bases[source[i]][bit >> 3] >> (bit & 7)) & 1
        free(bases)


def measure_texts(
    list offsets,                 # IN   of uint8 views of int32 [rows + 1], or None: empty
    const int32_t[::1] source,    # IN   [picks]
    const uint32_t[::1] row,      # IN   [picks]
    const uint32_t[::1] slot,     # IN   [picks]
    int32_t[::1] answer_offsets,  # IN zeros, OUT  [slots + 1] where each slot's text begins
):
    """Lay out the picked texts. Bytes in all; where that is more than 31 bits count, answer_offsets mean nothing."""
    cdef Py_ssize_t i, picks = check_picks(source, row, slot)
    cdef int64_t total = 0
    cdef const int32_t* base
    cdef const uint8_t** bases
    if picks == 0:
        return 0
    bases = find_bases(offsets)
    with nogil:
        for i in range(picks):
            base = <const int32_t*> bases[source[i]]
            if base != NULL:
                answer_offsets[slot[i] + 1] = base[row[i] + 1] - base[row[i]]
        for i in range(1, answer_offsets.shape[0]):
            total += answer_offsets[i]
            answer_offsets[i] = <int32_t> (total if total <= INT32_MAX else 0)
        free(bases)
    return total


def write_texts(
    list offsets,                       # IN   as given to measure_texts
    list texts,                         # IN   of uint8, or None
    const int32_t[::1] source,          # IN   [picks]
    const uint32_t[::1] row,            # IN   [picks]
    const uint32_t[::1] slot,           # IN   [picks]
    const int32_t[::1] answer_offsets,  # IN   [slots + 1] of measure_texts
    uint8_t[::1] answer,                # OUT  [answer_offsets[-1]]
):
    """Copy the picked texts to where measure_texts laid them."""
    cdef Py_ssize_t i, picks = check_picks(source, row, slot)
    cdef const int32_t* base
    cdef const uint8_t** bases
    cdef const uint8_t** texts_of
    if picks == 0 or answer.shape[0] == 0:
        return
    bases = find_bases(offsets)
    try:
        texts_of = find_bases(texts)
    except BaseException:
        free(bases)
        raise
    with nogil:
        for i in range(picks):
            base = <const int32_t*> bases[source[i]]
            if base != NULL and texts_of[source[i]] != NULL:
                memcpy(&answer[0] + answer_offsets[slot[i]], texts_of[source[i]] + base[row[i]], base[row[i] + 1] - base[row[i]])
        free(bases)
        free(texts_of)


cdef Py_ssize_t check_picks(const int32_t[::1] source, const uint32_t[::1] row, const uint32_t[::1] slot) except -1:
    if row.shape[0] != source.shape[0] or slot.shape[0] != source.shape[0]:
        raise ValueError("source, row and slot differ in length")
    return source.shape[0]
