"""Answers: the wanted features of one row, put into a dict under their output names. Row layout: see mlstore.format.rows."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int64_t, uint8_t, uint16_t
from libc.string cimport memcpy

from mlstore._core.row_layout cimport HEAD_SIZE, SOUND, Layout, RowLayout, check_row, fault_of, feature_at, has_bit, read_value

cdef enum Outcome:  # the numbers of the statuses in mlstore.engine.asking.lookup
    PRESENT = 0
    ALL_NULL = 1
    TOO_OLD = 3
    ANOTHER_REVISION = -1

OTHER_REVISION = <int> ANOTHER_REVISION


cdef class Answerer:
    """Which features of a row go where in an answer."""

    cdef RowLayout layout
    cdef tuple outputs
    cdef Py_ssize_t* wanted
    cdef Py_ssize_t count

    def __cinit__(self, RowLayout compiled not None, tuple wanted not None, tuple outputs not None):
        cdef Py_ssize_t i
        if len(wanted) != len(outputs):
            raise ValueError("wanted and outputs differ in length")
        self.layout = compiled
        self.outputs = outputs
        self.count = len(wanted)
        self.wanted = <Py_ssize_t*> PyMem_Calloc(self.count + 1, sizeof(Py_ssize_t))
        if self.wanted == NULL:
            raise MemoryError()
        for i in range(self.count):
            feature_at(&compiled.plan, wanted[i])
            self.wanted[i] = wanted[i]

    def __dealloc__(self):
        PyMem_Free(self.wanted)

    def fill(self, bytes row not None, int64_t oldest, dict answer not None):
        """Put the features that are not null into the answer, unless the row is older than `oldest`; returns how it went.

        Of a row of another revision nothing is taken.
        """
        cdef Layout* layout = &self.layout.plan
        cdef const uint8_t* start = <const uint8_t*> PyBytes_AS_STRING(row)
        cdef int64_t size = PyBytes_GET_SIZE(row), fault, event_time
        cdef uint16_t revision
        cdef Py_ssize_t i
        cdef int outcome = ALL_NULL
        if size >= HEAD_SIZE:
            memcpy(&revision, start, 2)
            if revision != layout.revision:
                return ANOTHER_REVISION
        fault = check_row(layout, start, size)
        if fault != SOUND:
            raise fault_of(layout, start, size, fault, "stored row")
        memcpy(&event_time, start + 2, 8)
        if event_time < oldest:
            return TOO_OLD
        for i in range(self.count):
            if has_bit(start + HEAD_SIZE, self.wanted[i]):
                answer[self.outputs[i]] = read_value(self.layout, start, self.wanted[i])
                outcome = PRESENT
        return outcome
