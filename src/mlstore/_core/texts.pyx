"""Texts: runs of bytes laid end to end, numbered by value with a hash table, and put in order by radix passes.

Text i of (offsets, data) is data[offsets[i]:offsets[i + 1]].
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

import numpy as np

from mlstore._core.prefetch cimport prefetch

cdef enum:
    BATCH = 64                  # texts hashed, and their places fetched, before the first of them is looked up
    FIRST_SLOTS = 1 << 12


cdef struct Slot:
    uint64_t hash
    int64_t begin               # where the text begins in the data
    int32_t size                # ... and its bytes
    int32_t number              # one more than the text's number; 0: free


cdef struct Table:
    Slot* slots
    uint64_t mask


cdef inline uint64_t hash_text(const uint8_t* text, int64_t size, uint64_t seed) noexcept nogil:
    """Eight bytes at a time; the finalizer of MurmurHash3 after each, so that every bit counts."""
    cdef uint64_t value = seed ^ <uint64_t> size, word
    while size > 0:
        word = 0
        memcpy(&word, text, min(size, 8))
        value = (value ^ word) * 0xFF51AFD7ED558CCDULL
        value ^= value >> 33
        value *= 0xC4CEB9FE1A85EC53ULL
        value ^= value >> 29
        text += 8
        size -= 8
    return value


cdef bint grow(Table* table) noexcept nogil:
    """Four times the slots. False: no memory, and the table is as it was."""
    cdef uint64_t slots = 4 * (table.mask + 1), place, i
    cdef Slot* wider = <Slot*> calloc(slots, sizeof(Slot))
    if wider == NULL:
        return False
    for i in range(table.mask + 1):
        if table.slots[i].number:
            place = table.slots[i].hash & (slots - 1)
            while wider[place].number:
                place = (place + 1) & (slots - 1)
            wider[place] = table.slots[i]
    free(table.slots)
    table.slots, table.mask = wider, slots - 1
    return True


cdef inline Slot* seek(Table* table, const uint8_t* base, uint64_t hash, const uint8_t* text, int64_t size) noexcept nogil:
    """The slot of a text, or the free one where it belongs. base: the data of the texts in the table."""
    cdef uint64_t place = hash & table.mask
    cdef Slot* slot = &table.slots[place]
    # Equal hashes prove nothing: the texts themselves decide.
    while slot.number and (slot.hash != hash or slot.size != size or memcmp(base + slot.begin, text, size) != 0):
        place = (place + 1) & table.mask
        slot = &table.slots[place]
    return slot


cdef int64_t number_all(
    const int64_t[::1] offsets,
    const uint8_t[::1] data,
    const uint8_t[::1] valid,
    uint64_t seed,
    Table* table,
    int32_t[::1] numbers,
    int64_t[::1] firsts,
) noexcept nogil:
    cdef uint64_t hashes[BATCH]
    cdef Py_ssize_t begin = 0, end, i, n = numbers.shape[0]
    cdef int64_t count = 0, size
    cdef Slot* slot
    cdef const uint8_t* base = &data[0] if data.shape[0] else NULL
    cdef const uint8_t* text
    while begin < n:
        end = min(begin + BATCH, n)
        if 2 * <uint64_t> (count + BATCH) > table.mask and not grow(table):
            return -1
        for i in range(begin, end):
            hashes[i - begin] = hash_text(base + offsets[i], offsets[i + 1] - offsets[i], seed)
            prefetch(&table.slots[hashes[i - begin] & table.mask])
        for i in range(begin, end):
            prefetch(base + table.slots[hashes[i - begin] & table.mask].begin)
        for i in range(begin, end):
            if valid.shape[0] and not valid[i]:
                numbers[i] = -1
                continue
            text, size = base + offsets[i], offsets[i + 1] - offsets[i]
            slot = seek(table, base, hashes[i - begin], text, size)
            if slot.number == 0:
                firsts[count] = i
                count += 1
                slot.hash, slot.begin, slot.size, slot.number = hashes[i - begin], offsets[i], <int32_t> size, <int32_t> count
            numbers[i] = slot.number - 1
        begin = end
    return count


cdef void find_all(
    const uint8_t* known,
    const int64_t[::1] offsets,
    const uint8_t[::1] data,
    const uint8_t[::1] valid,
    uint64_t seed,
    Table* table,
    int32_t[::1] numbers,
) noexcept nogil:
    cdef uint64_t hashes[BATCH]
    cdef Py_ssize_t begin = 0, end, i, n = numbers.shape[0]
    cdef const uint8_t* base = &data[0] if data.shape[0] else NULL
    while begin < n:
        end = min(begin + BATCH, n)
        for i in range(begin, end):
            hashes[i - begin] = hash_text(base + offsets[i], offsets[i + 1] - offsets[i], seed)
            prefetch(&table.slots[hashes[i - begin] & table.mask])
        for i in range(begin, end):
            prefetch(known + table.slots[hashes[i - begin] & table.mask].begin)
        for i in range(begin, end):
            if valid.shape[0] and not valid[i]:
                numbers[i] = -1
            else:
                numbers[i] = seek(table, known, hashes[i - begin], base + offsets[i], offsets[i + 1] - offsets[i]).number - 1
        begin = end


def number_texts(
    const int64_t[::1] offsets,    # IN   [n + 1]
    const uint8_t[::1] data,       # IN
    const uint8_t[::1] valid,      # IN   [n] 0: a null; or empty
    uint64_t seed,                 # IN   of the hash: unknown to whoever made the texts, so that they cannot make them collide
    int32_t[::1] numbers,          # OUT  [n] -1 for a null
    int64_t[::1] firsts,           # OUT  [n], the first `count` places: where each distinct text is first met
):
    """Number distinct texts in the order they are met. Their count."""
    cdef Table table
    cdef int64_t count
    if offsets.shape[0] != numbers.shape[0] + 1 or firsts.shape[0] != numbers.shape[0] or valid.shape[0] not in (0, numbers.shape[0]):
        raise ValueError("offsets, valid, numbers and firsts differ in length")
    if offsets[0] < 0 or offsets[offsets.shape[0] - 1] > data.shape[0] or numbers.shape[0] > 0x7FFFFFFF:
        raise ValueError("offsets reach beyond the data, or there are more texts than 31 bits can number")
    table.slots, table.mask = <Slot*> calloc(FIRST_SLOTS, sizeof(Slot)), FIRST_SLOTS - 1
    if table.slots == NULL:
        raise MemoryError
    with nogil:
        count = number_all(offsets, data, valid, seed, &table, numbers, firsts)
        free(table.slots)
    if count < 0:
        raise MemoryError
    return count


def find_texts(
    const int64_t[::1] known_offsets,   # IN   [m + 1] distinct texts
    const uint8_t[::1] known_data,      # IN
    const int64_t[::1] offsets,         # IN   [n + 1]
    const uint8_t[::1] data,            # IN
    const uint8_t[::1] valid,           # IN   [n] 0: a null; or empty
    uint64_t seed,                      # IN   as of number_texts
    int32_t[::1] numbers,               # OUT  [n] the place of each text among the known ones; -1 for a null and where it is none of them
):
    """Find texts among distinct ones."""
    cdef Table table
    cdef int64_t count
    cdef Py_ssize_t known = known_offsets.shape[0] - 1
    cdef int32_t[::1] places = np.empty(known, np.int32)
    cdef int64_t[::1] firsts = np.empty(known, np.int64)
    cdef const uint8_t[::1] no_valid = np.empty(0, np.uint8)
    if offsets.shape[0] != numbers.shape[0] + 1 or valid.shape[0] not in (0, numbers.shape[0]):
        raise ValueError("offsets, valid and numbers differ in length")
    if offsets[0] < 0 or offsets[offsets.shape[0] - 1] > data.shape[0]:
        raise ValueError("offsets reach beyond the data")
    if known_offsets[0] < 0 or known_offsets[known] > known_data.shape[0] or known > 0x7FFFFFFF:
        raise ValueError("offsets reach beyond the known data, or there are more texts than 31 bits can number")
    table.slots, table.mask = <Slot*> calloc(FIRST_SLOTS, sizeof(Slot)), FIRST_SLOTS - 1
    if table.slots == NULL:
        raise MemoryError
    with nogil:
        count = number_all(known_offsets, known_data, no_valid, seed, &table, places, firsts)
        if count >= 0:
            find_all(&known_data[0] if known_data.shape[0] else NULL, offsets, data, valid, seed, &table, numbers)
        free(table.slots)
    if count < 0:
        raise MemoryError
    if count != known:
        raise ValueError("the known texts are not distinct")


def lay_words(
    const int64_t[::1] offsets,    # IN   [n + 1]
    const uint8_t[::1] data,       # IN
    int64_t depth,                 # IN   bytes to skip of each text
    const uint32_t[::1] rows,      # IN   [m] which texts
    uint64_t[::1] words,           # OUT  [m]
):
    """The 8 bytes of each text from `depth` on as a number that sorts as they do; zeros behind its end."""
    cdef Py_ssize_t i
    cdef int64_t begin, end, byte
    cdef uint64_t word
    if words.shape[0] != rows.shape[0]:
        raise ValueError("rows and words differ in length")
    with nogil:
        for i in range(rows.shape[0]):
            begin = min(offsets[rows[i]] + depth, offsets[rows[i] + 1])
            end = min(begin + 8, offsets[rows[i] + 1])
            word = 0
            for byte in range(begin, end):
                word = (word << 8) | data[byte]
            words[i] = word << (8 * (8 - (end - begin))) if end > begin else 0
