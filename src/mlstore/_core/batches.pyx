"""Batches: the wanted features of many rows as one Arrow array of structs, by way of Arrow's C data interface.

Every column has memory of its own, so whoever takes one out of the batch need not keep the others. Row layout: see mlstore.format.rows.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from mlstore._core.row_layout cimport (
    BOOL, FIXED, HEAD_SIZE, SOUND, TOO_LARGE, VARLEN,
    Feature, Kind, Layout, RowLayout, begin_of, check_row, end_of, fault_of, feature_at, has_bit, set_bit,
)

from mlstore.errors import InvalidDataError

cdef enum:
    ALIGNMENT = 64              # of buffers, as Arrow recommends

cdef extern from *:
    """
    #include <stdint.h>
    #ifndef ARROW_C_DATA_INTERFACE
    #define ARROW_C_DATA_INTERFACE
    struct ArrowArray {
      int64_t length;
      int64_t null_count;
      int64_t offset;
      int64_t n_buffers;
      int64_t n_children;
      const void** buffers;
      struct ArrowArray** children;
      struct ArrowArray* dictionary;
      void (*release)(struct ArrowArray*);
      void* private_data;
    };
    #endif
    """
    cdef struct ArrowArray:
        int64_t length, null_count, offset, n_buffers, n_children
        const void** buffers
        ArrowArray** children
        ArrowArray* dictionary
        void (*release)(ArrowArray*) noexcept nogil
        void* private_data

cdef struct Block:              # what one array owns, and its buffers behind it
    const void* buffers[3]
    ArrowArray** children
    ArrowArray* arrays          # [n_children]
    void* text                  # the bytes of a variable column

cdef struct Target:             # OUT  one column
    ArrowArray* array
    uint8_t* valid
    uint8_t* values             # of a variable feature: its offsets
    uint8_t* text
    Py_ssize_t number           # the feature
    int64_t slot, width
    Kind kind


cdef void release_array(ArrowArray* array) noexcept nogil:
    cdef Block* block = <Block*> array.private_data
    cdef int64_t i
    for i in range(array.n_children):
        if block.arrays[i].release != NULL:
            block.arrays[i].release(&block.arrays[i])
    free(block.children)
    free(block.arrays)
    free(block.text)
    free(block)
    array.release = NULL


cdef inline int64_t aligned(int64_t size) noexcept nogil:
    return (size + ALIGNMENT - 1) & ~<int64_t> (ALIGNMENT - 1)


cdef uint8_t* open_array(ArrowArray* array, int64_t n, int64_t buffers, int64_t children, int64_t size) noexcept nogil:
    """Make an array that owns `size` bytes, which begin aligned; NULL: no memory, and there is nothing to release."""
    cdef Block* block = <Block*> malloc(sizeof(Block) + ALIGNMENT + size)
    cdef int64_t i
    if block == NULL:
        return NULL
    memset(block, 0, sizeof(Block))
    memset(array, 0, sizeof(ArrowArray))
    if children:
        block.arrays = <ArrowArray*> calloc(children, sizeof(ArrowArray))
        block.children = <ArrowArray**> calloc(children, sizeof(ArrowArray*))
        if block.arrays == NULL or block.children == NULL:
            free(block.arrays)
            free(block.children)
            free(block)
            return NULL
        for i in range(children):
            block.children[i] = &block.arrays[i]
    array.length = n
    array.n_buffers = buffers
    array.n_children = children
    array.buffers = block.buffers
    array.children = block.children
    array.private_data = block
    array.release = release_array
    return <uint8_t*> aligned(<int64_t> (<uintptr_t> block + sizeof(Block)))


cdef bint open_column(Target* target, int64_t n, int64_t items) noexcept nogil:
    """Make the column, all valid; False: no memory."""
    cdef int64_t bitmap_size = aligned((n + 7) >> 3), values_size
    cdef ArrowArray* array = target.array
    cdef Block* block
    if target.kind == BOOL:
        values_size = bitmap_size
    elif target.kind == VARLEN:
        values_size = 4 * (n + 1)
    else:
        values_size = n * target.width
    # The items of vectors are an array of their own, without nulls.
    target.valid = open_array(array, n, 3 if target.kind == VARLEN else 1 if items else 2, items > 0, bitmap_size + (0 if items else values_size))
    if target.valid == NULL:
        return False
    block = <Block*> array.private_data
    memset(target.valid, 0xFF, bitmap_size)
    if items:
        target.values = open_array(&block.arrays[0], n * items, 2, 0, values_size)
        if target.values == NULL:
            return False
        block = <Block*> block.arrays[0].private_data
    else:
        target.values = target.valid + bitmap_size
    block.buffers[1] = target.values
    if target.kind == BOOL:
        memset(target.values, 0, bitmap_size)
    elif target.kind == VARLEN:
        memset(target.values, 0, 4)
    return True


cdef class Batch:
    """An array of structs, its columns the wanted features; see the .pyi."""

    cdef ArrowArray* root
    cdef readonly list wide_texts

    def __cinit__(self):
        self.wide_texts = []
        self.root = <ArrowArray*> PyMem_Calloc(1, sizeof(ArrowArray))
        if self.root == NULL:
            raise MemoryError()

    def __dealloc__(self):
        drop(self.root)

    def capsule(self):
        """The array as the C data interface has it; it can be given away once."""
        cdef ArrowArray* root = self.root
        if root == NULL:
            raise ValueError("the batch was given away")
        capsule = PyCapsule_New(root, b"arrow_array", drop_capsule)
        self.root = NULL
        return capsule


cdef void drop(ArrowArray* root) noexcept:
    if root != NULL and root.release != NULL:
        root.release(root)
    PyMem_Free(root)


cdef void drop_capsule(object capsule) noexcept:
    drop(<ArrowArray*> PyCapsule_GetPointer(capsule, b"arrow_array"))


def read_batch(
    RowLayout compiled not None,
    const uintptr_t[::1] address,    # IN   [n] rows, kept alive by the caller; 0 = no row
    const int64_t[::1] size,         # IN   [n] bytes of each
    tuple wanted not None,           # IN   features
    tuple items not None,            # IN   per wanted feature the items of a vector, or 0
):
    """The batch."""
    cdef Layout* layout = &compiled.plan
    cdef int64_t n = address.shape[0], i, fault = SOUND
    cdef Py_ssize_t m = len(wanted), j
    cdef Batch batch = Batch()
    cdef Target* targets
    cdef const Feature* feature
    cdef Block* block
    if size.shape[0] != n or len(items) != m:
        raise ValueError("address and size, or wanted and items differ in length")
    for j in range(m):
        feature = feature_at(layout, wanted[j])
        if items[j] < 0 or items[j] and (feature.kind != FIXED or feature.width % items[j]):
            raise ValueError(f"feature {wanted[j]} is no vector of {items[j]} items")
    targets = <Target*> PyMem_Calloc(m + 1, sizeof(Target))
    if targets == NULL:
        raise MemoryError()
    try:
        if open_array(batch.root, n, 1, m, 0) == NULL:
            raise MemoryError()
        block = <Block*> batch.root.private_data
        for j in range(m):
            feature = feature_at(layout, wanted[j])
            targets[j].array = &block.arrays[j]
            targets[j].number = wanted[j]
            targets[j].slot, targets[j].width, targets[j].kind = feature.slot, feature.width, feature.kind
            if not open_column(&targets[j], n, items[j]):
                raise MemoryError()
        with nogil:
            for i in range(n):
                if address[i] != 0:
                    fault = measure_row(layout, <const uint8_t*> address[i], size[i], i, targets, m)
                else:
                    fault = repeat_ends(i, targets, m)
                if fault != SOUND:
                    break
        if fault == TOO_LARGE:
            raise InvalidDataError("one feature has more than 2 GiB in one batch of rows", hint="ask for fewer rows at once")
        if fault != SOUND:
            raise fault_of(layout, <const uint8_t*> address[i], size[i], fault, f"stored row {i} of the batch")
        for j in range(m):
            if targets[j].kind == VARLEN and not open_text(&targets[j], n):
                raise MemoryError()
        with nogil:
            for j in range(m):
                take_column(layout, &address[0] if n else NULL, n, &targets[j])
                if targets[j].array.null_count:
                    (<Block*> targets[j].array.private_data).buffers[0] = targets[j].valid
        for j in range(m):
            if targets[j].kind == VARLEN and not is_ascii(targets[j].text, int32_at(targets[j].values, n)):
                batch.wide_texts.append(j)
    finally:
        PyMem_Free(targets)
    return batch


cdef inline int64_t int32_at(const uint8_t* base, int64_t index) noexcept nogil:
    cdef int32_t value
    memcpy(&value, base + 4 * index, 4)
    return value


cdef inline void put_int32(uint8_t* base, int64_t index, int64_t value) noexcept nogil:
    cdef int32_t narrow = <int32_t> value
    memcpy(base + 4 * index, &narrow, 4)


cdef inline int64_t measure_row(
    const Layout* layout, const uint8_t* row, int64_t size, int64_t i, Target* targets, Py_ssize_t m
) noexcept nogil:
    """Check one row and append its ends to the offsets."""
    cdef Py_ssize_t j
    cdef int64_t fault = check_row(layout, row, size), end
    if fault != SOUND:
        return fault
    for j in range(m):
        if targets[j].kind == VARLEN:
            end = int32_at(targets[j].values, i)
            if has_bit(row + HEAD_SIZE, targets[j].number):
                end += end_of(layout, row, targets[j].number) - begin_of(layout, row, targets[j].number)
                if end > INT32_MAX:
                    return TOO_LARGE
            put_int32(targets[j].values, i + 1, end)
    return SOUND


cdef inline int64_t repeat_ends(int64_t i, Target* targets, Py_ssize_t m) noexcept nogil:
    """A row that is not there has no bytes."""
    cdef Py_ssize_t j
    for j in range(m):
        if targets[j].kind == VARLEN:
            put_int32(targets[j].values, i + 1, int32_at(targets[j].values, i))
    return SOUND


cdef bint open_text(Target* target, int64_t n) noexcept nogil:
    cdef Block* block = <Block*> target.array.private_data
    block.text = malloc(int32_at(target.values, n) + 1)
    target.text = <uint8_t*> block.text
    block.buffers[2] = block.text
    return block.text != NULL


cdef void take_column(const Layout* layout, const uintptr_t* address, int64_t n, Target* target) noexcept nogil:
    """Column by column: the rows are in the cache by now, and the loops have little to decide."""
    cdef int64_t i, begin, nulls = 0, width = target.width, slot = target.slot
    cdef Py_ssize_t number = target.number
    cdef const uint8_t* row
    if target.kind == FIXED and width == 8:
        for i in range(n):
            row = <const uint8_t*> address[i]
            if row != NULL and has_bit(row + HEAD_SIZE, number):
                memcpy(target.values + 8 * i, row + slot, 8)
            else:
                memset(target.values + 8 * i, 0, 8)
                nulls += clear_bit(target.valid, i)
    elif target.kind == FIXED:
        for i in range(n):
            row = <const uint8_t*> address[i]
            if row != NULL and has_bit(row + HEAD_SIZE, number):
                memcpy(target.values + i * width, row + slot, width)
            else:
                memset(target.values + i * width, 0, width)
                nulls += clear_bit(target.valid, i)
    elif target.kind == BOOL:
        for i in range(n):
            row = <const uint8_t*> address[i]
            if row == NULL or not has_bit(row + HEAD_SIZE, number):
                nulls += clear_bit(target.valid, i)
            elif row[slot]:
                set_bit(target.values, i)
    else:
        for i in range(n):
            row = <const uint8_t*> address[i]
            if row == NULL or not has_bit(row + HEAD_SIZE, number):
                nulls += clear_bit(target.valid, i)
            else:
                begin = int32_at(target.values, i)
                memcpy(target.text + begin, row + layout.fixed_end + begin_of(layout, row, number),
                       int32_at(target.values, i + 1) - begin)
    target.array.null_count = nulls


cdef inline int64_t clear_bit(uint8_t* bitmap, int64_t bit) noexcept nogil:
    bitmap[bit >> 3] &= <uint8_t> ~(1 << (bit & 7))
    return 1


cdef bint is_ascii(const uint8_t* text, int64_t size) noexcept nogil:
    cdef uint64_t word, seen = 0
    cdef int64_t i = 0
    while i + 8 <= size:
        memcpy(&word, text + i, 8)
        seen |= word
        i += 8
    while i < size:
        seen |= text[i]
        i += 1
    return not seen & 0x8080808080808080ULL
