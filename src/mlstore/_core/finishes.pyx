"""Finishes: the states of one key, finished into the values of outputs. The same operations, in double precision, as on columns of them."""

from libc.math cimport sqrt
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint64_t
from libc.stdlib cimport free, malloc

from mlstore._core.states cimport FLOATS, INTS, ROWS, UINTS, double_of, settled_word

cdef enum Function:
    COUNT
    RATE
    SUM
    MEAN
    MIN
    MAX
    VAR
    STD
    SKEW
    KURTOSIS

FUNCTIONS = {
    "count": <int> COUNT, "rate": <int> RATE, "sum": <int> SUM, "mean": <int> MEAN, "min": <int> MIN, "max": <int> MAX,
    "var": <int> VAR, "std": <int> STD, "skew": <int> SKEW, "kurtosis": <int> KURTOSIS,
}


cdef inline object one_nan(double value):
    return double_of(settled_word(value))


cdef int64_t words_read(int64_t function, int64_t kind) noexcept:
    """How many words, from the first that is read."""
    if function == SKEW or function == KURTOSIS:
        return 4
    if function == VAR or function == STD:
        return 2
    return 2 if (function == SUM or function == MEAN) and kind != FLOATS else 1


cdef class Finisher:
    """Outputs; see the .pyi."""

    def __cinit__(self, outputs):
        cdef Py_ssize_t place
        self.count = len(outputs)
        self.outputs = <Output*> malloc(max(1, self.count) * sizeof(Output))
        if self.outputs == NULL:
            raise MemoryError
        names, converters = [], []
        for place, (name, function, kind, window, first, at, seconds, converter) in enumerate(outputs):
            if not 0 <= function <= KURTOSIS or kind not in (ROWS, INTS, UINTS, FLOATS) or min(window, first, at) < 0:
                raise ValueError("an output of no known function")
            self.outputs[place] = Output(function, kind, window, first, at, seconds)
            self.windows = max(self.windows, window + 1)
            self.words = max(self.words, first + at + words_read(function, kind))
            names.append(name)
            converters.append(converter)
        self.names, self.converters = tuple(names), tuple(converters)

    def __dealloc__(self):
        free(self.outputs)

    cdef bint fits(self, int64_t windows, int64_t words) noexcept:
        return self.windows <= windows and self.words <= words

    cdef int fill(self, const int64_t* states, int64_t words, dict answer) except -1:
        """Put the outputs that are not null into the answer; states: [windows, words]."""
        cdef Py_ssize_t place
        cdef const Output* output
        cdef const int64_t* state
        cdef const int64_t* word
        cdef int64_t count
        cdef double m2, n
        cdef object value
        for place in range(self.count):
            output = &self.outputs[place]
            state = states + output.window * words + output.place
            count, word = state[0], state + output.at
            if output.function == COUNT:
                answer[self.names[place]] = count
                continue
            if count == 0:
                continue
            if output.function == RATE:
                value = <double> count / output.seconds
            elif output.function == SUM or output.function == MEAN:
                value = sum_of(output, word, count, place)
            elif output.function == MIN or output.function == MAX:
                value = extreme_of(output, word[0])
                if self.converters[place] is not None:
                    value = self.converters[place](value)
            else:
                n, m2 = <double> count, double_of(word[1])
                if output.function == VAR or output.function == STD:
                    if count < 2:
                        continue
                    value = m2 / (n - 1.0) if output.function == VAR else sqrt(m2 / (n - 1.0))
                elif m2 == 0 or count < (3 if output.function == SKEW else 4):
                    continue
                elif output.function == SKEW:
                    value = one_nan(n * sqrt(n - 1.0) / (n - 2.0) * (double_of(word[2]) / (m2 * sqrt(m2))))
                else:
                    value = one_nan((n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * (n * double_of(word[3]) / (m2 * m2) - 3.0) + 6.0))
            answer[self.names[place]] = value
        return 0


cdef object sum_of(const Output* output, const int64_t* word, int64_t count, Py_ssize_t place):
    cdef double total
    if output.kind == FLOATS:
        total = double_of(word[0])
        return total / <double> count if output.function == MEAN else total
    if word[1] == word[0] >> 63:
        if output.function == SUM:
            return word[0]
        return <double> word[0] / <double> count
    if output.function == SUM:
        raise OverflowError(place)
    return float((word[1] * (1 << 64)) + <uint64_t> word[0]) / count


cdef object extreme_of(const Output* output, int64_t word):
    if output.kind == FLOATS:
        return one_nan(double_of(word if word >= 0 else word ^ INT64_MAX))
    return <uint64_t> (word ^ INT64_MIN) if output.kind == UINTS else word
