"""Keys: bytes of variable length, laid end to end, escaped so that their order is the order of the values.

A component of text is written with 00 as 00 01 and closed by 00 00; one of an integer is 8 bytes, big-endian, sign bit flipped.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.long cimport PyLong_CheckExact
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1


cdef enum:
    TERMINATOR = 2      # bytes: 00 00
    INTEGER = 8         # bytes of an integer component

cdef uint64_t SIGN = 1ULL << 63


def measure_escaped(
    const int64_t[::1] offsets,    # IN   [n + 1]
    const uint8_t[::1] data,       # IN
    int64_t[::1] escaped_offsets,  # OUT  [n + 1]
):
    """Where each text begins once escaped."""
    cdef Py_ssize_t i, n = offsets.shape[0] - 1
    cdef int64_t at, total = 0
    check_offsets(offsets, data)
    if escaped_offsets.shape[0] != n + 1:
        raise ValueError("offsets differ in length")
    with nogil:
        for i in range(n):
            escaped_offsets[i] = total
            total += offsets[i + 1] - offsets[i] + TERMINATOR
            for at in range(offsets[i], offsets[i + 1]):
                total += data[at] == 0
        escaped_offsets[n] = total


def write_escaped(
    const int64_t[::1] offsets,    # IN   [n + 1] as given to measure_escaped
    const uint8_t[::1] data,       # IN
    uint8_t[::1] escaped,          # OUT  [last of escaped_offsets]
):
    """Escape and close each text."""
    cdef Py_ssize_t i
    cdef int64_t at, out = 0
    with nogil:
        for i in range(offsets.shape[0] - 1):
            for at in range(offsets[i], offsets[i + 1]):
                escaped[out] = data[at]
                out += 1
                if data[at] == 0:
                    escaped[out] = 1
                    out += 1
            escaped[out] = 0
            escaped[out + 1] = 0
            out += TERMINATOR


def measure_taken(
    const int64_t[::1] offsets,    # IN   [n + 1]
    const uint8_t[::1] data,       # IN
    const int64_t[::1] indices,    # IN   [m]
    int64_t[::1] lengths,          # IN, OUT  [m]
):
    """Add the length of each chosen item to lengths."""
    cdef Py_ssize_t i
    cdef int64_t n = offsets.shape[0] - 1, index
    cdef bint fits = True
    check_offsets(offsets, data)
    if lengths.shape[0] != indices.shape[0]:
        raise ValueError("indices and lengths differ in length")
    with nogil:
        for i in range(indices.shape[0]):
            index = indices[i]
            if index < 0 or index >= n:
                fits = False
                break
            lengths[i] += offsets[index + 1] - offsets[index]
    if not fits:
        raise IndexError("an index lies outside of the keys")


def write_taken(
    const int64_t[::1] offsets,    # IN   [n + 1] as given to measure_taken
    const uint8_t[::1] data,       # IN
    const int64_t[::1] indices,    # IN   [m] as given to measure_taken
    int64_t[::1] cursors,          # IN, OUT  [m] where the next component of each key goes
    uint8_t[::1] answer,           # OUT
):
    """Copy each chosen item to its cursor, and move the cursor behind it."""
    cdef Py_ssize_t i
    cdef int64_t begin, size
    with nogil:
        for i in range(indices.shape[0]):
            begin = offsets[indices[i]]
            size = offsets[indices[i] + 1] - begin
            if size > 0:
                memcpy(&answer[cursors[i]], &data[begin], size)
                cursors[i] += size


def read_ints(
    const uint8_t[::1] data,       # IN
    const int64_t[::1] ends,       # IN   [n] where each key ends
    int64_t[::1] cursors,          # IN, OUT  [n] where its next component begins
    int64_t[::1] values,           # OUT  [n]
):
    """Decode one integer of each key. The first key too short to hold it, or -1."""
    cdef Py_ssize_t i, bad = -1
    cdef int64_t at
    cdef uint64_t word
    check_cursors(data, ends, cursors)
    if values.shape[0] != ends.shape[0]:
        raise ValueError("ends and values differ in length")
    with nogil:
        for i in range(ends.shape[0]):
            if ends[i] - cursors[i] < 8:
                bad = i
                break
            word = 0
            for at in range(cursors[i], cursors[i] + 8):
                word = (word << 8) | data[at]
            values[i] = <int64_t> (word ^ 0x8000000000000000ULL)
            cursors[i] += 8
    return bad


def measure_unescaped(
    const uint8_t[::1] data,       # IN
    const int64_t[::1] ends,       # IN   [n] where each key ends
    const int64_t[::1] cursors,    # IN   [n] where its next component begins
    int64_t[::1] lengths,          # OUT  [n]
):
    """The length of the next text of each key, once unescaped. The first key whose text is not closed or not escaped, or -1."""
    cdef Py_ssize_t i, bad = -1
    cdef int64_t at, end
    check_cursors(data, ends, cursors)
    if lengths.shape[0] != ends.shape[0]:
        raise ValueError("ends and lengths differ in length")
    with nogil:
        for i in range(ends.shape[0]):
            at = cursors[i]
            end = ends[i] - 1
            lengths[i] = 0
            while at < end:
                if data[at] != 0:
                    at += 1
                elif data[at + 1] == 1:
                    at += 2
                else:
                    at = at if data[at + 1] == 0 else end
                    break
                lengths[i] += 1
            if at >= end:
                bad = i
                break
    return bad


def write_unescaped(
    const uint8_t[::1] data,       # IN
    int64_t[::1] cursors,          # IN, OUT  [n] as given to measure_unescaped
    const int64_t[::1] offsets,    # IN   [n + 1] sums of the lengths it found
    uint8_t[::1] answer,           # OUT  [last of offsets]
):
    """Unescape the next text of each key, and move its cursor behind the terminator."""
    cdef Py_ssize_t i
    cdef int64_t at, out
    with nogil:
        for i in range(cursors.shape[0]):
            at = cursors[i]
            for out in range(offsets[i], offsets[i + 1]):
                answer[out] = data[at]
                at += 2 if data[at] == 0 else 1
            cursors[i] = at + TERMINATOR


def search_ints(
    const int64_t[::1] keys,       # IN   [n] sorted, unique
    const int64_t[::1] needles,    # IN   [m] sorted
    int64_t[::1] positions,        # OUT  [m]
):
    """The position of each needle among the keys, or -1."""
    cdef Py_ssize_t i
    cdef int64_t low = 0, high, middle, step, n = keys.shape[0], needle
    if positions.shape[0] != needles.shape[0]:
        raise ValueError("needles and positions differ in length")
    if n > 0 and <uint64_t> keys[n - 1] - <uint64_t> keys[0] == <uint64_t> (n - 1):
        # No number is left out: each key tells its own place.
        with nogil:
            for i in range(needles.shape[0]):
                needle = needles[i]
                positions[i] = needle - keys[0] if keys[0] <= needle <= keys[n - 1] else -1
        return
    with nogil:
        for i in range(needles.shape[0]):
            needle = needles[i]
            # All keys before `low` are below the needle: gallop to a key that is not, then bisect.
            step = 1
            while low + step <= n and keys[low + step - 1] < needle:
                low += step
                step <<= 1
            high = min(n, low + step - 1)
            while low < high:
                middle = low + ((high - low) >> 1)
                if keys[middle] < needle:
                    low = middle + 1
                else:
                    high = middle
            positions[i] = low if low < n and keys[low] == needle else -1


def search_bytes(
    const int64_t[::1] offsets,          # IN   [n + 1]
    const uint8_t[::1] data,             # IN   keys: sorted, unique
    const int64_t[::1] needle_offsets,   # IN   [m + 1]
    const uint8_t[::1] needle_data,      # IN   needles: sorted
    int64_t[::1] positions,              # OUT  [m]
):
    """The position of each needle among the keys, or -1."""
    cdef Py_ssize_t i
    cdef int64_t low = 0, high, middle, step, n = offsets.shape[0] - 1
    check_offsets(offsets, data)
    check_offsets(needle_offsets, needle_data)
    if positions.shape[0] != needle_offsets.shape[0] - 1:
        raise ValueError("needles and positions differ in length")
    with nogil:
        for i in range(positions.shape[0]):
            step = 1
            while low + step <= n and compare(offsets, data, low + step - 1, needle_offsets, needle_data, i) < 0:
                low += step
                step <<= 1
            high = min(n, low + step - 1)
            while low < high:
                middle = low + ((high - low) >> 1)
                if compare(offsets, data, middle, needle_offsets, needle_data, i) < 0:
                    low = middle + 1
                else:
                    high = middle
            positions[i] = low if low < n and compare(offsets, data, low, needle_offsets, needle_data, i) == 0 else -1


cdef inline int compare(
    const int64_t[::1] offsets, const uint8_t[::1] data, int64_t key,
    const int64_t[::1] needle_offsets, const uint8_t[::1] needle_data, int64_t needle,
) noexcept nogil:
    """Below, at or above zero, as the key is below, at or above the needle."""
    cdef int64_t size = offsets[key + 1] - offsets[key], needle_size = needle_offsets[needle + 1] - needle_offsets[needle]
    cdef int64_t shared = min(size, needle_size)
    cdef int verdict = 0
    if shared > 0:
        verdict = memcmp(&data[offsets[key]], &needle_data[needle_offsets[needle]], shared)
    if verdict != 0:
        return verdict
    return (size > needle_size) - (size < needle_size)


cdef int check_offsets(const int64_t[::1] offsets, const uint8_t[::1] data) except -1:
    if offsets.shape[0] == 0 or offsets[0] < 0 or offsets[offsets.shape[0] - 1] > data.shape[0]:
        raise ValueError("offsets reach beyond the data")
    return 0


cdef int check_cursors(const uint8_t[::1] data, const int64_t[::1] ends, const int64_t[::1] cursors) except -1:
    if ends.shape[0] != cursors.shape[0]:
        raise ValueError("ends and cursors differ in length")
    if ends.shape[0] > 0 and (cursors[0] < 0 or ends[ends.shape[0] - 1] > data.shape[0]):
        raise ValueError("keys reach beyond the data")
    return 0


def read_list(
    list values not None,        # IN   [n]
    int64_t[::1] ints,           # OUT  [n]
):
    """Whether all values are plain Python integers that fit."""
    cdef Py_ssize_t i, n = len(values)
    cdef int overflow = 0
    if ints.shape[0] != n:
        raise ValueError("values and ints differ in length")
    for i in range(n):
        if not PyLong_CheckExact(values[i]):
            return False
        ints[i] = PyLong_AsLongLongAndOverflow(values[i], &overflow)
        if overflow:
            return False
    return True


def record_of_int(bytes prefix not None, object value, int64_t low, int64_t high):
    """One encoded integer behind a prefix; None if it is no plain Python integer from low to high."""
    cdef int overflow = 0
    cdef int64_t plain
    if not PyLong_CheckExact(value):
        return None
    plain = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or not low <= plain <= high:
        return None
    return make_record(PyBytes_AS_STRING(prefix), len(prefix), plain)


def records_of_ints(
    bytes prefix not None,       # IN
    const int64_t[::1] ints,     # IN   [n]
):
    """The encoded keys behind a prefix, one bytes object each."""
    cdef Py_ssize_t i, n = ints.shape[0], size = len(prefix)
    cdef list records = [None] * n
    for i in range(n):
        records[i] = make_record(PyBytes_AS_STRING(prefix), size, ints[i])
    return records


cdef inline bytes make_record(const char* prefix, Py_ssize_t size, int64_t plain):
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size + INTEGER)
    cdef uint8_t* record = <uint8_t*> PyBytes_AS_STRING(made)
    cdef uint64_t value = <uint64_t> plain ^ SIGN
    cdef int place
    memcpy(record, prefix, size)
    for place in range(INTEGER):
        record[size + place] = <uint8_t> (value >> (56 - 8 * place))
    return made


def records_of_bytes(
    bytes prefix not None,       # IN
    const int64_t[::1] offsets,  # IN   [n + 1]
    const uint8_t[::1] data,     # IN
):
    """The keys behind a prefix, one bytes object each."""
    cdef Py_ssize_t i, n = offsets.shape[0] - 1, size = len(prefix)
    cdef const char* head = PyBytes_AS_STRING(prefix)
    cdef uint8_t* record
    cdef int64_t length
    check_offsets(offsets, data)
    cdef list records = [None] * n
    for i in range(n):
        length = offsets[i + 1] - offsets[i]
        made = PyBytes_FromStringAndSize(NULL, size + length)
        record = <uint8_t*> PyBytes_AS_STRING(made)
        memcpy(record, head, size)
        if length:
            memcpy(record + size, &data[offsets[i]], length)
        records[i] = made
    return records
