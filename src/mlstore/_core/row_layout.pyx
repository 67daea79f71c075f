"""Row layouts: where each feature of a schema revision lies in a row, and whether bytes are such a row.

The struct `Layout` is what kernels loop over; the class owns its memory. Rows are hostile until `check_row` has passed them.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t
from libc.string cimport memcpy

from mlstore._core.slots cimport AS_BINARY, AS_CALL, AS_STRING, Reading, read_slot, reading_width

from mlstore.errors import CorruptionError

CURE = "restore a backup; verify() names what else is damaged"


cdef class RowLayout:
    """The compiled layout of one schema revision."""

    def __cinit__(self, int revision, list kinds, list widths, list readings, tuple converters):
        cdef Py_ssize_t i, count = len(kinds)
        cdef int32_t before = -1
        cdef Feature* feature
        cdef Layout* plan = &self.plan
        if not 0 <= revision <= 0xFFFF:
            raise ValueError(f"schema revision {revision} does not fit in 16 bits")
        if not count == len(widths) == len(readings) == len(converters):
            raise ValueError("kinds, widths, readings and converters differ in length")
        plan.revision = revision
        plan.count = count
        self.converters = converters
        plan.features = <Feature*> PyMem_Calloc(count + 1, sizeof(Feature))
        plan.varlen = <int32_t*> PyMem_Calloc(count + 1, sizeof(int32_t))
        if plan.features == NULL or plan.varlen == NULL:
            raise MemoryError()
        plan.fixed_end = HEAD_SIZE + ((count + 7) >> 3)
        for i in range(count):
            feature = &plan.features[i]
            feature.kind = <Kind> <int> kinds[i]
            feature.reading = <Reading> <int> readings[i]
            feature.width = 1 if feature.kind == BOOL else 4 if feature.kind == VARLEN else <int64_t> widths[i]
            if feature.kind != VARLEN and feature.width < reading_width(feature.reading):
                raise ValueError(f"feature {i}: a slot of {feature.width} bytes is too small for its reading")
            feature.slot = plan.fixed_end
            plan.fixed_end += feature.width
            feature.before = before
            if feature.kind == VARLEN:
                plan.varlen[plan.varlen_count] = before = <int32_t> i
                plan.varlen_count += 1

    def __dealloc__(self):
        PyMem_Free(self.plan.features)
        PyMem_Free(self.plan.varlen)


cdef const Feature* feature_at(const Layout* layout, Py_ssize_t i) except NULL:
    if not 0 <= i < layout.count:
        raise IndexError(f"feature {i} of {layout.count}")
    return &layout.features[i]


cdef object read_value(RowLayout compiled, const uint8_t* row, Py_ssize_t i):
    """One feature of a row that `check_row` has passed, as a Python object."""
    cdef Layout* layout = &compiled.plan
    cdef const Feature* feature = &layout.features[i]
    cdef int64_t begin, size
    cdef const char* value
    if not has_bit(row + HEAD_SIZE, i):
        return None
    if feature.kind != VARLEN:
        if feature.reading == AS_CALL:
            return compiled.converters[i](PyBytes_FromStringAndSize(<const char*> row + feature.slot, feature.width))
        return read_slot(row + feature.slot, feature.width, feature.reading)
    begin = begin_of(layout, row, i)
    size = end_of(layout, row, i) - begin
    value = <const char*> row + layout.fixed_end + begin
    if feature.reading == AS_STRING:
        return PyUnicode_DecodeUTF8(value, size, NULL)
    if feature.reading == AS_BINARY:
        return PyBytes_FromStringAndSize(value, size)
    return compiled.converters[i](PyBytes_FromStringAndSize(value, size))


cdef object fault_of(const Layout* layout, const uint8_t* row, int64_t size, int64_t fault, str place):
    """The error to raise for a row that `check_row` has refused."""
    cdef uint16_t revision
    if fault == TRUNCATED:
        text = f"cut off at byte {size} of at least {layout.fixed_end}"
    elif fault == OTHER_REVISION:
        memcpy(&revision, row, 2)
        text = f"schema revision {revision}, expected {layout.revision}"
    elif fault == OTHER_LENGTH:
        text = f"{size} bytes long, which is not where its last value ends"
    else:
        text = f"feature {fault} ends at {end_of(layout, row, fault)}, outside the row or before the value in front of it"
    return CorruptionError(f"{place}: {text}", hint=CURE)
