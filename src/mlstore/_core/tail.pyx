"""The tail: rows just written, laid out as its records, and its records taken apart again. Layout: see mlstore.engine.history.tail.

A record's key ends in three clocks, newest first; its value begins with the sequence that deleted the row.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp, memcpy

from mlstore._core.row_layout cimport HEAD_SIZE

from mlstore._core.row_layout import CURE
from mlstore.errors import CorruptionError

cdef enum:
    CLOCKS = 24      # ~event_time, ~created, ~seq
    DELETED = 8      # the sequence that deleted the row
    LEAD = 2         # of an entry: the size of its key

cdef uint64_t SIGN = <uint64_t> 1 << 63


# ---- rows to be written ----

def read_entries(
    list entries not None,           # IN   [n] (u16 size of the key, key, row)
    int64_t[::1] event_time,         # OUT  [n] of the row's head
    int64_t[::1] created,            # OUT  [n]
    int64_t[::1] key_sizes,          # OUT  [n]
):
    """What entries say of themselves; returns their keys end to end."""
    cdef Py_ssize_t i, n = PyList_GET_SIZE(entries)
    cdef int64_t total = 0
    cdef const uint8_t* row
    cdef uint8_t* to
    if not n == event_time.shape[0] == created.shape[0] == key_sizes.shape[0]:
        raise ValueError("entries and outputs differ in length")
    for i in range(n):
        row = entry_row(entries, i)
        memcpy(&event_time[i], row + 2, 8)
        memcpy(&created[i], row + 10, 8)
        key_sizes[i] = row - <const uint8_t*> PyBytes_AS_STRING(<object> PyList_GET_ITEM(entries, i)) - LEAD
        total += key_sizes[i]
    joined = PyBytes_FromStringAndSize(NULL, total)
    to = <uint8_t*> PyBytes_AS_STRING(joined)
    for i in range(n):
        memcpy(to, PyBytes_AS_STRING(<object> PyList_GET_ITEM(entries, i)) + LEAD, key_sizes[i])
        to += key_sizes[i]
    return joined


def find_rows(
    list entries not None,           # IN   [n]
    uintptr_t[::1] address,          # OUT  [n] the row, valid while `entries` lives
    int64_t[::1] size,               # OUT  [n]
):
    """Where the rows of entries lie."""
    cdef Py_ssize_t i, n = PyList_GET_SIZE(entries)
    cdef const uint8_t* row
    if not n == address.shape[0] == size.shape[0]:
        raise ValueError("entries and outputs differ in length")
    for i in range(n):
        row = entry_row(entries, i)
        address[i] = <uintptr_t> row
        size[i] = row_size(entries, i, row)


def measure_laid(
    list entries not None,           # IN   [n]
    const uint32_t[::1] order,       # IN   [m] places in entries
    int64_t[::1] cuts,               # OUT  [m + 1]
):
    """Where each row begins once the rows lie end to end in this order."""
    cdef Py_ssize_t i, n = PyList_GET_SIZE(entries), m = order.shape[0]
    cdef int64_t total = 0
    if cuts.shape[0] != m + 1:
        raise ValueError("order and cuts differ in length")
    for i in range(m):
        if order[i] >= n:
            raise IndexError(f"entry {order[i]} of {n}")
        cuts[i] = total
        total += row_size(entries, order[i], entry_row(entries, order[i]))
    cuts[m] = total


def lay_rows(
    list entries not None,           # IN   [n]
    const uint32_t[::1] order,       # IN   [m] as given to measure_laid
    const int64_t[::1] cuts,         # IN   [m + 1] as it computed
    const int64_t[::1] event_time,   # IN   [m]
    const int64_t[::1] created,      # IN   [m]
    int64_t first_seq,               # IN   of the entry in place 0
    uint8_t[::1] laid,               # OUT  [last of cuts]
):
    """Copy the rows end to end, with the clocks they have from now on."""
    cdef Py_ssize_t i, n = PyList_GET_SIZE(entries), m = order.shape[0]
    cdef int64_t seq, size
    cdef const uint8_t* row
    cdef uint8_t* to
    if not m == event_time.shape[0] == created.shape[0] == cuts.shape[0] - 1 or cuts[m] != laid.shape[0]:
        raise ValueError("order, cuts, clocks and output differ in length")
    for i in range(m):
        if order[i] >= n:
            raise IndexError(f"entry {order[i]} of {n}")
        row = entry_row(entries, order[i])
        size = row_size(entries, order[i], row)
        if cuts[i] < 0 or cuts[i + 1] - cuts[i] != size or cuts[i + 1] > cuts[m]:
            raise ValueError(f"cut {i} is of another row")
        to = &laid[0] + cuts[i]
        memcpy(to, row, size)
        seq = first_seq + order[i]
        memcpy(to + 2, &event_time[i], 8)
        memcpy(to + 10, &created[i], 8)
        memcpy(to + 18, &seq, 8)


cdef const uint8_t* entry_row(list entries, Py_ssize_t i) except NULL:
    """The row of an entry, which has a head at least."""
    entry = bytes_at(entries, i)
    cdef const uint8_t* start = <const uint8_t*> PyBytes_AS_STRING(entry)
    cdef uint16_t key_size = 0
    if PyBytes_GET_SIZE(entry) >= LEAD:
        memcpy(&key_size, start, LEAD)
    if PyBytes_GET_SIZE(entry) < LEAD + key_size + HEAD_SIZE:
        raise ValueError(f"entry {i} is cut short")
    return start + LEAD + key_size


cdef inline int64_t row_size(list entries, Py_ssize_t i, const uint8_t* row):
    entry = <object> PyList_GET_ITEM(entries, i)
    return <const uint8_t*> PyBytes_AS_STRING(entry) + PyBytes_GET_SIZE(entry) - row


def tail_items(
    bytes prefix not None,           # IN   of every record
    list keys not None,              # IN   [k] encoded, sorted
    const int64_t[::1] offsets,      # IN   [k + 1] first row of each key
    const int64_t[::1] cuts,         # IN   [m + 1] where each row begins
    const uint8_t[::1] laid,         # IN   rows by key, oldest first
    int64_t deleted_seq,             # IN   of all of them
):
    """The records of rows, (key, value) each, in the order of their keys."""
    cdef Py_ssize_t g, i, at = 0, m = cuts.shape[0] - 1
    cdef int64_t begin, size
    cdef const uint8_t* row
    cdef uint8_t* to
    cdef list items
    if m < 0 or offsets.shape[0] != PyList_GET_SIZE(keys) + 1 or offsets[0] != 0 or offsets[offsets.shape[0] - 1] != m:
        raise ValueError("keys, offsets and cuts do not fit")
    items = [None] * m
    for g in range(offsets.shape[0] - 1):
        key = bytes_at(keys, g)
        if offsets[g + 1] > m:
            raise ValueError("offsets reach beyond the rows")
        for i in range(offsets[g + 1] - 1, offsets[g] - 1, -1):
            begin, size = cuts[i], cuts[i + 1] - cuts[i]
            if begin < 0 or size < HEAD_SIZE or cuts[i + 1] > laid.shape[0]:
                raise ValueError(f"row {i} lies outside of the rows")
            row = &laid[0] + begin
            record = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(prefix) + PyBytes_GET_SIZE(key) + CLOCKS)
            to = <uint8_t*> PyBytes_AS_STRING(record)
            memcpy(to, PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
            to += PyBytes_GET_SIZE(prefix)
            memcpy(to, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
            to += PyBytes_GET_SIZE(key)
            put_clock(to, row + 2)
            put_clock(to + 8, row + 10)
            put_clock(to + 16, row + 18)
            value = PyBytes_FromStringAndSize(NULL, DELETED + size)
            to = <uint8_t*> PyBytes_AS_STRING(value)
            memcpy(to, &deleted_seq, DELETED)
            memcpy(to + DELETED, row, size)
            items[at] = (record, value)
            at += 1
    return items


cdef inline void put_clock(uint8_t* to, const uint8_t* clock) noexcept nogil:
    cdef uint64_t word
    cdef int i
    memcpy(&word, clock, 8)
    word = ~(word ^ SIGN)
    for i in range(8):
        to[i] = <uint8_t> (word >> (56 - 8 * i))


def lay_alone(
    bytes prefix not None,           # IN   of every record
    bytes entry not None,            # IN   u16 size of the key, key, row
    bint tells_time,                 # IN   whether the row's head has its event time, else it is `now`
    bint tells_created,              # IN   likewise
    int64_t now,                     # IN
    int64_t seq,                     # IN
    int64_t deleted_seq,             # IN
):
    """The record of one row with the clocks it has from now on: (key, event time, record, value)."""
    cdef list entries = [entry]
    cdef const uint8_t* row = entry_row(entries, 0)
    cdef int64_t size = row_size(entries, 0, row), event_time = now
    cdef Py_ssize_t key_size = row - <const uint8_t*> PyBytes_AS_STRING(entry) - LEAD
    cdef uint8_t* to
    cdef uint8_t* laid
    value = PyBytes_FromStringAndSize(NULL, DELETED + size)
    to = <uint8_t*> PyBytes_AS_STRING(value)
    memcpy(to, &deleted_seq, DELETED)
    laid = to + DELETED
    memcpy(laid, row, size)
    if tells_time:
        memcpy(&event_time, row + 2, 8)
    else:
        memcpy(laid + 2, &now, 8)
    if not tells_created:
        memcpy(laid + 10, &now, 8)
    memcpy(laid + 18, &seq, 8)
    record = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(prefix) + key_size + CLOCKS)
    to = <uint8_t*> PyBytes_AS_STRING(record)
    memcpy(to, PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
    to += PyBytes_GET_SIZE(prefix)
    memcpy(to, row - key_size, key_size)
    to += key_size
    put_clock(to, laid + 2)
    put_clock(to + 8, laid + 10)
    put_clock(to + 16, laid + 18)
    return PyBytes_FromStringAndSize(<const char*> row - key_size, key_size), event_time, record, value


def newer_places(
    list rows not None,              # IN   [n] packed rows that are offered
    list held not None,              # IN   [n] rows that are there, or None
):
    """Places of the rows that are not older, by (event time, created, seq), than what is there."""
    cdef Py_ssize_t i, n = PyList_GET_SIZE(rows)
    cdef list places = []
    if PyList_GET_SIZE(held) != n:
        raise ValueError("rows and held rows differ in length")
    for i in range(n):
        if <object> PyList_GET_ITEM(held, i) is None or compare_clocks(row_at(rows, i), row_at(held, i)) >= 0:
            places.append(i)
    return places


cdef int compare_clocks(const uint8_t* row, const uint8_t* other) noexcept:
    cdef int64_t[3] mine, theirs
    cdef int i
    memcpy(mine, row + 2, 24)
    memcpy(theirs, other + 2, 24)
    for i in range(3):
        if mine[i] != theirs[i]:
            return 1 if mine[i] > theirs[i] else -1
    return 0


# ---- records that were read ----

def read_records(
    list records not None,           # IN   [n] (key, value), in the order of their keys
    Py_ssize_t prefix_size,          # IN   of every key
    int64_t[::1] offsets,            # OUT  [n + 1] first row of each entity key, as many as there are, and n
    int64_t[::1] key_sizes,          # OUT  [n] bytes of each entity key
    int64_t[:, ::1] clocks,          # OUT  [3, n] event time, created, seq
    int64_t[::1] deleted,            # OUT  [n]
    uintptr_t[::1] address,          # OUT  [n] the row, valid while `records` lives
    int64_t[::1] size,               # OUT  [n]
    uint16_t[::1] revision,          # OUT  [n] that the row is of
    uint32_t[::1] places,            # OUT  [n] its record
):
    """Rows by entity key, oldest first, where records have the newest first; how many keys, and the keys end to end."""
    cdef Py_ssize_t n = PyList_GET_SIZE(records), i, first, k = 0
    cdef int64_t total = 0
    cdef uint8_t* to
    if not n == offsets.shape[0] - 1 == key_sizes.shape[0] == clocks.shape[1] == deleted.shape[0] == address.shape[0] \
            == size.shape[0] == revision.shape[0] == places.shape[0] or clocks.shape[0] != 3 or prefix_size < 0:
        raise ValueError("records and outputs differ in length")
    for i in range(n):
        check_record(records, i, prefix_size)
        if i == 0 or not is_same_key(records, i - 1, i, prefix_size):
            offsets[k] = i
            key_sizes[k] = PyBytes_GET_SIZE(part_of(records, i, 0)) - CLOCKS - prefix_size
            total += key_sizes[k]
            k += 1
    offsets[k] = n
    joined = PyBytes_FromStringAndSize(NULL, total)
    to = <uint8_t*> PyBytes_AS_STRING(joined)
    for i in range(k):
        memcpy(to, PyBytes_AS_STRING(part_of(records, offsets[i], 0)) + prefix_size, key_sizes[i])
        to += key_sizes[i]
        first = offsets[i]
        read_key(records, first, offsets[i + 1], clocks, deleted, address, size, revision, places)
    return k, joined


cdef void read_key(
    list records, Py_ssize_t first, Py_ssize_t stop, int64_t[:, ::1] clocks, int64_t[::1] deleted, uintptr_t[::1] address,
    int64_t[::1] size, uint16_t[::1] revision, uint32_t[::1] places,
):
    """The rows of one key, from the last record to the first."""
    cdef Py_ssize_t row, i
    cdef const uint8_t* clock
    cdef const uint8_t* value
    for row in range(first, stop):
        i = first + stop - 1 - row
        record, stored = part_of(records, i, 0), part_of(records, i, 1)
        clock = <const uint8_t*> PyBytes_AS_STRING(record) + PyBytes_GET_SIZE(record) - CLOCKS
        value = <const uint8_t*> PyBytes_AS_STRING(stored)
        clocks[0, row] = clock_at(clock)
        clocks[1, row] = clock_at(clock + 8)
        clocks[2, row] = clock_at(clock + 16)
        memcpy(&deleted[row], value, DELETED)
        address[row] = <uintptr_t> (value + DELETED)
        size[row] = PyBytes_GET_SIZE(stored) - DELETED
        memcpy(&revision[row], value + DELETED, 2)
        places[row] = <uint32_t> i


cdef inline int64_t clock_at(const uint8_t* clock) noexcept nogil:
    cdef uint64_t word = 0
    cdef int i
    for i in range(8):
        word = (word << 8) | clock[i]
    return <int64_t> (~word ^ SIGN)


cdef inline bint is_same_key(list records, Py_ssize_t i, Py_ssize_t j, Py_ssize_t prefix_size):
    one, other = part_of(records, i, 0), part_of(records, j, 0)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(one)
    return size == PyBytes_GET_SIZE(other) and memcmp(
        PyBytes_AS_STRING(one) + prefix_size, PyBytes_AS_STRING(other) + prefix_size, size - CLOCKS - prefix_size
    ) == 0


cdef inline object part_of(list records, Py_ssize_t i, Py_ssize_t part):
    return <object> PyTuple_GET_ITEM(<object> PyList_GET_ITEM(records, i), part)


cdef int check_record(list records, Py_ssize_t i, Py_ssize_t prefix_size) except -1:
    record = <object> PyList_GET_ITEM(records, i)
    if not PyTuple_CheckExact(record) or PyTuple_GET_SIZE(record) != 2 \
            or not PyBytes_CheckExact(part_of(records, i, 0)) or not PyBytes_CheckExact(part_of(records, i, 1)):
        raise TypeError(f"record {i}: expected a pair of bytes")
    if PyBytes_GET_SIZE(part_of(records, i, 0)) < prefix_size + CLOCKS or PyBytes_GET_SIZE(part_of(records, i, 1)) < DELETED + HEAD_SIZE:
        raise CorruptionError(f"record {i} of a tail is cut short", hint=CURE)
    return 0


cdef inline bytes bytes_at(list items, Py_ssize_t i):
    item = <object> PyList_GET_ITEM(items, i)
    if not PyBytes_CheckExact(item):
        raise TypeError(f"item {i}: expected bytes, got {type(item).__name__}")
    return <bytes> item


cdef const uint8_t* row_at(list rows, Py_ssize_t i) except NULL:
    """A packed row, which has a head at least."""
    row = bytes_at(rows, i)
    if PyBytes_GET_SIZE(row) < HEAD_SIZE:
        raise CorruptionError(f"stored row {i} of the batch: cut off at byte {PyBytes_GET_SIZE(row)} of at least {HEAD_SIZE}", hint=CURE)
    return <const uint8_t*> PyBytes_AS_STRING(row)
