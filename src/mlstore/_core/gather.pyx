"""Gather: copy chosen values of several sources to chosen slots of the answer.

Pick i takes row[i] of the source at sources[source[i]] to slot[i]; source -1 is a pick of nothing. Picks are in the order of the sources'
memory as far as it goes, so that a source is read forwards; what is read next is fetched ahead. Sources are addresses, kept alive by
the caller.
"""

from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from mlstore._core.prefetch cimport prefetch

cdef enum:
    AHEAD = 32                  # picks between a fetch and its use
    BLOCK_BITS = 14             # rows of a chunked column are looked up by blocks of so many


ctypedef fused word_t:
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef void gather_words(
    const uintptr_t* sources, const int32_t* source, const uint32_t* row, const uint32_t* slot, Py_ssize_t picks, word_t* answer
) noexcept nogil:
    cdef Py_ssize_t i, ahead
    cdef const word_t* base
    for i in range(picks):
        ahead = i + AHEAD
        if ahead < picks:
            if source[ahead] >= 0:
                prefetch(<const word_t*> sources[source[ahead]] + row[ahead])
            prefetch(answer + slot[ahead])
        base = <const word_t*> sources[source[i]] if source[i] >= 0 else NULL
        answer[slot[i]] = base[row[i]] if base != NULL else 0


cdef void gather_blobs(
    const uintptr_t* sources,
    Py_ssize_t width,
    const int32_t* source,
    const uint32_t* row,
    const uint32_t* slot,
    Py_ssize_t picks,
    uint8_t* answer,
) noexcept nogil:
    cdef Py_ssize_t i
    cdef const uint8_t* base
    for i in range(picks):
        base = <const uint8_t*> sources[source[i]] if source[i] >= 0 else NULL
        if base != NULL:
            memcpy(answer + slot[i] * width, base + row[i] * width, width)
        else:
            memset(answer + slot[i] * width, 0, width)


def count_winners(
    const int32_t[::1] source,        # IN   [asks] -1: none
    const uint32_t[::1] slot,         # IN   [asks]
    int64_t[::1] wins,                # IN zeros, OUT  [sources] how many asks each has won
    uint8_t[::1] found,               # IN zeros, OUT  [slots] 1 where something won
):
    """Which sources are needed, and which slots have an answer."""
    cdef Py_ssize_t i, asks = source.shape[0]
    cdef int32_t winner
    if slot.shape[0] != asks:
        raise ValueError("winners and slots differ in length")
    with nogil:
        for i in range(asks):
            winner = source[i]
            if winner >= 0:
                wins[winner] += 1
                found[slot[i]] = 1


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
    cdef const uint8_t[::1] values
    cdef Chunks chunks
    if starts.shape[0] != len(sources) + 1 or answer.shape[0] != count * width:
        raise ValueError("starts do not fit the chunks, or the answer the places")
    if count == 0 or width == 0:
        return
    rows = starts[starts.shape[0] - 1]
    chunks.ends = &starts[1]
    chunks.count = len(sources)
    chunks.width = width
    chunks.bases = <const uint8_t**> malloc(chunks.count * sizeof(void*))
    chunks.blocks = <const uint8_t**> malloc(((rows >> BLOCK_BITS) + 1) * sizeof(void*))
    if chunks.bases == NULL or chunks.blocks == NULL:
        free(chunks.bases)
        free(chunks.blocks)
        raise MemoryError
    for chunk in range(chunks.count):
        values = sources[chunk]
        chunks.bases[chunk] = &values[0] - starts[chunk] * width if values.shape[0] else NULL
    with nogil:
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
    const uintptr_t[::1] sources, # IN   address of each source's values, or 0
    Py_ssize_t width,             # IN   bytes of one value
    const int32_t[::1] source,    # IN   [picks]
    const uint32_t[::1] row,      # IN   [picks]
    const uint32_t[::1] slot,     # IN   [picks]
    uint8_t[::1] answer,          # OUT  [slots * width]
):
    """answer[slot[i]] = the value of pick i, of `width` bytes; zeros where there is none, or its source has no address."""
    cdef Py_ssize_t picks = check_picks(source, row, slot)
    if picks == 0 or width == 0:
        return
    cdef const uintptr_t* bases = &sources[0] if sources.shape[0] else NULL
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


def gather_bits(
    const uintptr_t[::1] bitmaps, # IN   address of each, least significant bit first; 0: every bit is 1
    const int64_t[::1] offset,    # IN   [sources] the bit of row 0
    const int32_t[::1] source,    # IN   [picks]
    const uint32_t[::1] row,      # IN   [picks]
    const uint32_t[::1] slot,     # IN   [picks]
    uint8_t[::1] answer,          # OUT  [slots] 0 or 1
):
    """answer[slot[i]] = the bit of pick i; 0 where there is none."""
    cdef Py_ssize_t i, picks = check_picks(source, row, slot)
    cdef int64_t bit
    cdef const uint8_t* bitmap
    if offset.shape[0] != bitmaps.shape[0]:
        raise ValueError("bitmaps and offsets differ in length")
    with nogil:
        for i in range(picks):
            if source[i] < 0:
                answer[slot[i]] = 0
                continue
            bitmap = <const uint8_t*> bitmaps[source[i]]
            if bitmap == NULL:
                answer[slot[i]] = 1
            else:
                bit = <int64_t> row[i] + offset[source[i]]
                answer[slot[i]] = (bitmap[bit >> 3] >> (bit & 7)) & 1


def measure_texts(
    const uintptr_t[::1] offsets, # IN   address of each source's int32 [rows + 1], or 0: empty
    const int32_t[::1] source,    # IN   [picks]
    const uint32_t[::1] row,      # IN   [picks]
    const uint32_t[::1] slot,     # IN   [picks]
    int32_t[::1] answer_offsets,  # IN zeros, OUT  [slots + 1] where each slot's text begins
):
    """Lay out the picked texts. Bytes in all; where that is more than 31 bits count, answer_offsets mean nothing."""
    cdef Py_ssize_t i, picks = check_picks(source, row, slot)
    cdef int64_t total = 0
    cdef const int32_t* base
    with nogil:
        for i in range(picks):
            base = <const int32_t*> offsets[source[i]] if source[i] >= 0 else NULL
            if base != NULL:
                answer_offsets[slot[i] + 1] = base[row[i] + 1] - base[row[i]]
        for i in range(1, answer_offsets.shape[0]):
            total += answer_offsets[i]
            answer_offsets[i] = <int32_t> (total if total <= INT32_MAX else 0)
    return total


def write_texts(
    const uintptr_t[::1] offsets,       # IN   as given to measure_texts
    const uintptr_t[::1] texts,         # IN   address of each source's bytes, or 0
    const int32_t[::1] source,          # IN   [picks]
    const uint32_t[::1] row,            # IN   [picks]
    const uint32_t[::1] slot,           # IN   [picks]
    const int32_t[::1] answer_offsets,  # IN   [slots + 1] of measure_texts
    uint8_t[::1] answer,                # OUT  [answer_offsets[-1]]
):
    """Copy the picked texts to where measure_texts laid them."""
    cdef Py_ssize_t i, picks = check_picks(source, row, slot)
    cdef const int32_t* base
    cdef const uint8_t* data
    if offsets.shape[0] != texts.shape[0]:
        raise ValueError("offsets and texts differ in length")
    if answer.shape[0] == 0:
        return
    with nogil:
        for i in range(picks):
            if source[i] < 0:
                continue
            base = <const int32_t*> offsets[source[i]]
            data = <const uint8_t*> texts[source[i]]
            if base != NULL and data != NULL:
                memcpy(&answer[0] + answer_offsets[slot[i]], data + base[row[i]], base[row[i] + 1] - base[row[i]])


cdef Py_ssize_t check_picks(const int32_t[::1] source, const uint32_t[::1] row, const uint32_t[::1] slot) except -1:
    if row.shape[0] != source.shape[0] or slot.shape[0] != source.shape[0]:
        raise ValueError("source, row and slot differ in length")
    return source.shape[0]
