"""Waiting events: those of one key, picked from packed entries that hold the events of many; docs/format.md tells their bytes."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

import numpy as np

cdef enum:
    HEAD = 16                   # u32 each: keys, events, bytes of the keys, columns


cdef struct Entry:
    const uint8_t* bytes
    int64_t keys
    int64_t events
    int64_t columns             # where the clocks of the events begin
    int64_t first               # events of the key asked for
    int64_t last


cdef inline int64_t end_at(const uint8_t* place, int64_t number) noexcept nogil:
    cdef uint32_t end
    if number < 0:
        return 0
    memcpy(&end, place + 4 * number, 4)
    return end


cdef int64_t open_entry(Entry* entry, const uint8_t* packed, int64_t size, int64_t valued, int64_t flagged) noexcept nogil:
    """How many events an entry holds; -1: it is of no known form."""
    cdef int64_t told
    if size < HEAD:
        return -1
    entry.bytes, entry.keys, entry.events, told = packed, end_at(packed, 0), end_at(packed, 1), end_at(packed, 2)
    entry.columns = (HEAD + 8 * entry.keys + told + 7) // 8 * 8
    if end_at(packed, 3) != flagged or size != entry.columns + entry.events * (16 + 8 * valued + flagged):
        return -1
    if end_at(packed + HEAD, entry.keys - 1) != told or end_at(packed + HEAD + 4 * entry.keys, entry.keys - 1) != entry.events:
        return -1
    return entry.events


cdef int find_key(Entry* entry, const uint8_t* key, int64_t size) noexcept nogil:
    """Find the events of a key; -1: the ends do not ascend."""
    cdef const uint8_t* ends = entry.bytes + HEAD
    cdef const uint8_t* names = ends + 8 * entry.keys
    cdef int64_t low = 0, high = entry.keys, middle, begin, end, order
    cdef int64_t told = end_at(ends, entry.keys - 1)
    entry.first = entry.last = 0
    while low < high:
        middle = (low + high) // 2
        begin, end = end_at(ends, middle - 1), end_at(ends, middle)
        if not begin <= end <= told:
            return -1
        order = memcmp(names + begin, key, min(end - begin, size))
        if order == 0:
            order = (end - begin) - size
        if order == 0:
            entry.first, entry.last = end_at(ends + 4 * entry.keys, middle - 1), end_at(ends + 4 * entry.keys, middle)
            return 0 if 0 <= entry.first <= entry.last <= entry.events else -1
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return 0


def pick_waiting(
    packed,                     # IN   entries, oldest first
    bytes key,
    has_values,                 # IN   of each column, whether it has words
):
    """The events of a key as they were written: whether they ascend, times, created, words of each column (none: empty), flags of each."""
    cdef Py_ssize_t count = len(packed), number, column, columns = len(has_values)
    cdef int64_t valued = sum(map(bool, has_values)), events = 0, place = 0, taken, into
    cdef const uint8_t* name = <const uint8_t*> PyBytes_AS_STRING(key)
    cdef int64_t[::1] words, times, known
    cdef uint8_t[::1] flags
    cdef Entry* entry
    cdef Entry* entries = <Entry*> malloc(max(1, count) * sizeof(Entry))
    if entries == NULL:
        raise MemoryError
    try:
        for number in range(count):
            entry, one = &entries[number], <bytes?> packed[number]
            if open_entry(entry, <const uint8_t*> PyBytes_AS_STRING(one), PyBytes_GET_SIZE(one), valued, columns) < 0:
                raise ValueError("an entry of no known form")
            if find_key(entry, name, PyBytes_GET_SIZE(key)) < 0:
                raise ValueError("an entry of no known form")
            events += entry.last - entry.first
        if not events:
            return None
        time, created = np.empty(events, np.int64), np.empty(events, np.int64)
        values = [np.empty(events if has else 0, np.int64) for has in has_values]
        counted = [np.empty(events, np.uint8) for _ in has_values]
        for number in range(count):
            entry = &entries[number]
            taken, into = entry.last - entry.first, entry.columns
            if not taken:
                continue
            for words in (time, created, *(column_words for column_words in values if column_words.size)):
                memcpy(&words[place], entry.bytes + into + 8 * entry.first, 8 * taken)
                into += 8 * entry.events
            for flags in counted:
                memcpy(&flags[place], entry.bytes + into + entry.first, taken)
                into += entry.events
            place += taken
        times, known = time, created
        for place in range(1, events):
            if times[place - 1] > times[place] or (times[place - 1] == times[place] and known[place - 1] > known[place]):
                return False, time, created, values, counted
        return True, time, created, values, counted
    finally:
        free(entries)
