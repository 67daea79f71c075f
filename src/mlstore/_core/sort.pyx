"""Sorting: the stable order of rows by (code, time, created), by counting and radix passes, never by comparison.

A row's fields are laid side by side in 64-bit words, as few bits each as its range needs; a word is sorted digit by digit, lowest first,
after parting what would not fit the cache by the highest digit.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

cdef enum:
    WORD_BITS = 64
    WIDE_DIGIT = 11             # bits sorted in one pass over many pairs
    WIDE_VALUES = 2048
    NARROW_DIGIT = 8            # ... over few, for which clearing wide counters takes longer than the pairs
    MOST_DIGITS = 8
    FEW_PAIRS = 24              # up to here insertion is fastest
    WIDE_PAIRS = 1 << 15        # beyond, wide digits are faster
    MANY_PAIRS = 1 << 18        # beyond, pairs outgrow the cache, and are parted first
    PART_BITS = 12              # into parts of about 2^12
    # Beyond this many groups a counting pass writes to more places than the cache holds; radix passes win.
    COUNTING_GROUPS = 1 << 18


cdef struct Survey:
    bint ordered            # the rows are already in the order asked for
    bint times_ordered      # ... if the code is left aside
    bint codes_fit          # all codes lie in [0, n_groups)
    int32_t code_high
    int64_t time_low
    int64_t time_high
    int64_t created_low
    int64_t created_high


cdef struct Pairs:
    # A word and the row it belongs to, and as much room again to sort into.
    uint64_t* words
    uint32_t* rows
    uint64_t* spare_words
    uint32_t* spare_rows
    Py_ssize_t count


cdef inline int bits_of(uint64_t value) noexcept nogil:
    cdef int bits = 0
    while value:
        bits += 1
        value >>= 1
    return bits


cdef void sort_pairs(Pairs* pairs, int bits) noexcept nogil:
    """Sort pairs by the lowest `bits` of their words; stable. The answer is in words and rows, which may have changed places with the spare."""
    if pairs.count <= FEW_PAIRS:
        insert_pairs(pairs, bits)
    elif pairs.count <= MANY_PAIRS or bits <= 2 * WIDE_DIGIT:
        sort_digits(pairs, bits)
    else:
        split_pairs(pairs, bits)


cdef void insert_pairs(Pairs* pairs, int bits) noexcept nogil:
    cdef uint64_t mask = ~(<uint64_t> 0) if bits == WORD_BITS else (<uint64_t> 1 << bits) - 1, word
    cdef uint32_t row
    cdef Py_ssize_t i, place
    for i in range(1, pairs.count):
        word, row = pairs.words[i], pairs.rows[i]
        place = i
        while place > 0 and (pairs.words[place - 1] & mask) > (word & mask):
            pairs.words[place], pairs.rows[place] = pairs.words[place - 1], pairs.rows[place - 1]
            place -= 1
        pairs.words[place], pairs.rows[place] = word, row


cdef void split_pairs(Pairs* pairs, int bits) noexcept nogil:
    """Part the pairs by their highest digit, into parts that fit the cache, and sort each part."""
    cdef uint32_t places[WIDE_VALUES]
    cdef int width = min(<int> WIDE_DIGIT, bits_of(<uint64_t> pairs.count >> PART_BITS)), shift = bits - width
    cdef Py_ssize_t digit, begin = 0
    cdef Pairs part
    memset(places, 0, sizeof(places))
    count_digits(pairs.words, pairs.count, bits - width, width, 1, places)
    move_pairs(pairs, shift, width, places)
    for digit in range(<Py_ssize_t> 1 << width):
        part.words, part.rows = pairs.words + begin, pairs.rows + begin
        part.spare_words, part.spare_rows = pairs.spare_words + begin, pairs.spare_rows + begin
        part.count = <Py_ssize_t> places[digit] - begin
        sort_pairs(&part, shift)
        if part.words != pairs.words + begin:
            memcpy(pairs.words + begin, part.words, part.count * sizeof(uint64_t))
            memcpy(pairs.rows + begin, part.rows, part.count * sizeof(uint32_t))
        begin = places[digit]


cdef void sort_digits(Pairs* pairs, int bits) noexcept nogil:
    """Sort digit by digit, the lowest first."""
    cdef uint32_t counts[MOST_DIGITS * WIDE_VALUES]
    cdef int widest = WIDE_DIGIT if pairs.count > WIDE_PAIRS else NARROW_DIGIT
    cdef int digits = (bits + widest - 1) // widest, digit, width
    cdef uint64_t mask
    if digits == 0:
        return
    width = (bits + digits - 1) // digits
    mask = (<uint64_t> 1 << width) - 1
    memset(counts, 0, (<size_t> digits << width) * sizeof(uint32_t))
    count_digits(pairs.words, pairs.count, 0, width, digits, counts)
    for digit in range(digits):
        # The last digit may reach above `bits`, where words of one part are all the same: their order is not touched.
        if counts[(<uint64_t> digit << width) + ((pairs.words[0] >> (digit * width)) & mask)] != <uint32_t> pairs.count:
            move_pairs(pairs, digit * width, width, counts + (<size_t> digit << width))


cdef void count_digits(const uint64_t* words, Py_ssize_t n, int shift, int width, int digits, uint32_t* counts) noexcept nogil:
    """Count the values of `digits` digits above bit `shift`, [digits][2^width]."""
    cdef uint64_t mask = (<uint64_t> 1 << width) - 1, word
    cdef int digit
    cdef Py_ssize_t i
    for i in range(n):
        word = words[i] >> shift
        for digit in range(digits):
            counts[(<uint64_t> digit << width) + (word & mask)] += 1
            word >>= width


cdef void move_pairs(Pairs* pairs, int shift, int width, uint32_t* counts) noexcept nogil:
    """One stable pass by the digit at `shift`, into the spare, which changes places. Counts become the end of each value's pairs."""
    cdef uint64_t mask = (<uint64_t> 1 << width) - 1, word
    cdef uint64_t* words = pairs.words
    cdef uint32_t* rows = pairs.rows
    cdef uint64_t* spare_words = pairs.spare_words
    cdef uint32_t* spare_rows = pairs.spare_rows
    cdef uint32_t place, total = 0, size
    cdef Py_ssize_t i
    for i in range(<Py_ssize_t> 1 << width):
        size = counts[i]
        counts[i] = total
        total += size
    for i in range(pairs.count):
        word = words[i]
        place = counts[(word >> shift) & mask]
        counts[(word >> shift) & mask] = place + 1
        spare_words[place] = word
        spare_rows[place] = rows[i]
    pairs.words, pairs.rows, pairs.spare_words, pairs.spare_rows = spare_words, spare_rows, words, rows


cdef void survey_rows(
    const int32_t[::1] codes, int64_t n_groups, const int64_t[::1] time, const int64_t[::1] created, Survey* survey
) noexcept nogil:
    cdef Py_ssize_t i
    cdef bint has_time = time is not None, has_created = created is not None, times_ordered = True, ordered = True, rises
    cdef int32_t code, last_code, code_low, code_high
    cdef int64_t when = 0, last_when = 0, known = 0, last_known = 0
    code_low = code_high = last_code = codes[0]
    if has_time:
        last_when = time[0]
    survey.time_low = survey.time_high = last_when
    if has_created:
        last_known = created[0]
    survey.created_low = survey.created_high = last_known
    for i in range(codes.shape[0]):
        code = codes[i]
        if has_time:
            when = time[i]
        if has_created:
            known = created[i]
        rises = when > last_when or (when == last_when and known >= last_known)
        times_ordered &= rises
        ordered &= code > last_code or (code == last_code and rises)
        code_low, code_high = min(code_low, code), max(code_high, code)
        survey.time_low, survey.time_high = min(survey.time_low, when), max(survey.time_high, when)
        survey.created_low, survey.created_high = min(survey.created_low, known), max(survey.created_high, known)
        last_code, last_when, last_known = code, when, known
    survey.ordered = ordered
    survey.times_ordered = times_ordered
    survey.code_high = code_high
    survey.codes_fit = code_low >= 0 and code_high < n_groups


cdef void keep_order(const int32_t[::1] codes, uint32_t[::1] order, int64_t[::1] offsets) noexcept nogil:
    """The answer for rows that are in order already."""
    cdef Py_ssize_t i, group = 0
    for i in range(codes.shape[0]):
        order[i] = <uint32_t> i
        while group <= codes[i]:
            offsets[group] = i
            group += 1
    for group in range(group, offsets.shape[0]):
        offsets[group] = codes.shape[0]


cdef void count_by_code(const int32_t[::1] codes, uint32_t[::1] order, int64_t[::1] offsets) noexcept nogil:
    """One stable counting pass: rows of a group stay in the order they came in."""
    cdef Py_ssize_t i, group
    cdef int64_t place
    offsets[:] = 0
    for i in range(codes.shape[0]):
        offsets[codes[i] + 1] += 1
    for group in range(1, offsets.shape[0]):
        offsets[group] += offsets[group - 1]
    for i in range(codes.shape[0]):
        place = offsets[codes[i]]
        offsets[codes[i]] = place + 1
        order[place] = <uint32_t> i
    # Each group's offset has walked to its end, which is where the next one begins.
    for group in range(offsets.shape[0] - 1, 0, -1):
        offsets[group] = offsets[group - 1]
    offsets[0] = 0


cdef void lay_time(const int64_t[::1] values, int64_t low, int shift, Pairs* pairs) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(pairs.count):
        pairs.words[i] |= (<uint64_t> values[pairs.rows[i]] - <uint64_t> low) << shift


cdef void lay_code(const int32_t[::1] codes, int shift, Pairs* pairs) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(pairs.count):
        pairs.words[i] |= <uint64_t> codes[pairs.rows[i]] << shift


cdef void offsets_of_words(Pairs* pairs, int shift, int64_t[::1] offsets) noexcept nogil:
    """CSR offsets, read off sorted words that hold the code from bit `shift` up."""
    cdef Py_ssize_t i, group = 0, code
    for i in range(pairs.count):
        code = <Py_ssize_t> (pairs.words[i] >> shift)
        while group <= code:
            offsets[group] = i
            group += 1
    for group in range(group, offsets.shape[0]):
        offsets[group] = pairs.count


cdef void sort_fields(
    const int32_t[::1] codes, const int64_t[::1] time, const int64_t[::1] created, Survey* survey, Pairs* pairs, int64_t[::1] offsets
) noexcept nogil:
    cdef int widths[3]
    cdef int field = 0, filled, code_shift = 0
    cdef Py_ssize_t i
    widths[0] = 0 if survey.times_ordered else bits_of(<uint64_t> survey.created_high - <uint64_t> survey.created_low)
    widths[1] = 0 if survey.times_ordered else bits_of(<uint64_t> survey.time_high - <uint64_t> survey.time_low)
    widths[2] = bits_of(<uint64_t> survey.code_high)
    for i in range(pairs.count):
        pairs.rows[i] = <uint32_t> i
    while field < 3:
        filled = 0
        memset(pairs.words, 0, pairs.count * sizeof(uint64_t))
        while field < 3 and filled + widths[field] <= WORD_BITS:
            if widths[field] > 0 and field == 0:
                lay_time(created, survey.created_low, filled, pairs)
            elif widths[field] > 0 and field == 1:
                lay_time(time, survey.time_low, filled, pairs)
            elif widths[field] > 0:
                code_shift = filled
                lay_code(codes, filled, pairs)
            filled += widths[field]
            field += 1
        sort_pairs(pairs, filled)
    if widths[2] > 0:
        offsets_of_words(pairs, code_shift, offsets)
    else:
        offsets[:] = pairs.count
        offsets[0] = 0


cdef inline uint64_t word_of(int32_t code, int64_t time, int64_t low, int time_bits) noexcept nogil:
    return <uint64_t> code << time_bits | (<uint64_t> time - <uint64_t> low)


def survey_times(const int32_t[::1] codes, int64_t n_groups, const int64_t[::1] time):
    """(in order of code and time, in order of time, lowest time, highest time) of rows; there must be one."""
    cdef Survey survey
    if codes.shape[0] == 0 or time.shape[0] != codes.shape[0]:
        raise ValueError("codes and time differ in length, or there are none")
    with nogil:
        survey_rows(codes, n_groups, time, None, &survey)
    if not survey.codes_fit:
        raise ValueError("a code lies outside of [0, n_groups)")
    return survey.ordered, survey.times_ordered, survey.time_low, survey.time_high


def part_rows(
    const int32_t[::1] codes,      # IN   [n] of a survey
    const int64_t[::1] time,       # IN   [n]
    int64_t low,                   # IN   lowest time
    int time_bits,                 # IN   bits of the highest time - low
    int shift,                     # IN   parts differ in the bits of their words from here up
    uint64_t[::1] words,           # OUT  [n] code << time_bits | time - low
    uint32_t[::1] order,           # OUT  [n] the row of each word
    uint32_t[::1] ends,            # OUT  [parts] where each part ends
):
    """Lay each row's code and time into a word, and part the words by their highest bits; stable."""
    cdef Py_ssize_t n = codes.shape[0], i, part
    cdef uint32_t total = 0, size, place
    cdef uint64_t word
    cdef bint fits = True
    if time.shape[0] != n or words.shape[0] != n or order.shape[0] != n:
        raise ValueError("codes, time, words and order differ in length")
    if not 0 <= shift < WORD_BITS or not 0 <= time_bits < WORD_BITS or <uint64_t> n > 0xFFFFFFFF:
        raise ValueError("bits lie in [0, 64), and 32 bits number the rows")
    ends[:] = 0
    with nogil:
        for i in range(n):
            word = word_of(codes[i], time[i], low, time_bits) >> shift
            if word >= <uint64_t> ends.shape[0]:
                fits = False
                break
            ends[word] += 1
        if fits:
            for part in range(ends.shape[0]):
                size = ends[part]
                ends[part] = total
                total += size
            for i in range(n):
                word = word_of(codes[i], time[i], low, time_bits)
                place = ends[word >> shift]
                ends[word >> shift] = place + 1
                words[place] = word
                order[place] = <uint32_t> i
    if not fits:
        raise ValueError("a word lies beyond the parts")


def sort_parts(
    uint64_t[::1] words,           # IN, OUT  [n] parted
    uint32_t[::1] order,           # IN, OUT  [n] moves with the words
    const uint32_t[::1] ends,      # IN   [parts] of part_rows
    Py_ssize_t first,              # IN   parts from here
    Py_ssize_t stop,               # IN   ... up to here
    int bits,                      # IN   within a part the words differ in so many bits
    uint64_t[::1] spare_words,     # OUT  scratch for the largest of these parts
    uint32_t[::1] spare_rows,      # OUT  scratch
):
    """Sort the words of some parts, carrying rows along; stable. Other parts may be sorted meanwhile."""
    cdef Py_ssize_t part, begin, count
    cdef Pairs pairs
    if order.shape[0] != words.shape[0] or not 0 <= first <= stop <= ends.shape[0] or not 0 <= bits < WORD_BITS:
        raise ValueError("words and order differ in length, or there are no such parts or bits")
    begin = ends[first - 1] if first else 0
    for part in range(first, stop):
        count = <Py_ssize_t> ends[part] - begin
        if count < 0 or ends[part] > words.shape[0] or count > spare_words.shape[0] or count > spare_rows.shape[0]:
            raise ValueError("a part does not fit the words or the spares")
        begin = ends[part]
    with nogil:
        begin = ends[first - 1] if first else 0
        for part in range(first, stop):
            pairs.words, pairs.rows = &words[0] + begin, &order[0] + begin
            pairs.spare_words, pairs.spare_rows = &spare_words[0], &spare_rows[0]
            pairs.count = <Py_ssize_t> ends[part] - begin
            sort_pairs(&pairs, bits)
            if pairs.words != &words[0] + begin:
                memcpy(&words[0] + begin, pairs.words, pairs.count * sizeof(uint64_t))
                memcpy(&order[0] + begin, pairs.rows, pairs.count * sizeof(uint32_t))
            begin = ends[part]


def split_words(
    uint64_t[::1] words,           # IN   [n] sorted;  OUT  the times, as int64
    int64_t low,                   # IN   as given to part_rows
    int time_bits,                 # IN
    int64_t[::1] offsets,          # OUT  [n_groups + 1]
):
    """Sorted words become where each group begins, and the times."""
    cdef Py_ssize_t i
    cdef Pairs pairs
    cdef uint64_t mask
    if not 0 <= time_bits < WORD_BITS or words.shape[0] == 0 or offsets.shape[0] == 0 \
            or words[words.shape[0] - 1] >> time_bits >= <uint64_t> offsets.shape[0] - 1:
        raise ValueError("bits lie in [0, 64), and there are words; or a code lies outside of [0, n_groups)")
    mask = (<uint64_t> 1 << time_bits) - 1
    pairs.words, pairs.count = &words[0], words.shape[0]
    with nogil:
        offsets_of_words(&pairs, time_bits, offsets)
        for i in range(words.shape[0]):
            words[i] = (words[i] & mask) + <uint64_t> low


def sort_rows(
    const int32_t[::1] codes,      # IN   [n] group of each row, in [0, n_groups)
    int64_t n_groups,
    const int64_t[::1] time,       # IN   [n] or None
    const int64_t[::1] created,    # IN   [n] or None
    uint32_t[::1] order,           # OUT  [n]
    int64_t[::1] offsets,          # OUT  [n_groups + 1]
):
    """Order rows by (code, time, created, position), and find where each group begins."""
    cdef Py_ssize_t n = codes.shape[0], i
    cdef Survey survey
    cdef Pairs pairs
    cdef uint64_t[::1] words, spare_words
    cdef uint32_t[::1] spare_rows
    if order.shape[0] != n or (time is not None and time.shape[0] != n) or (created is not None and created.shape[0] != n):
        raise ValueError("codes, time, created and order differ in length")
    if n_groups < 0 or offsets.shape[0] != n_groups + 1:
        raise ValueError("offsets must have n_groups + 1 places")
    if <uint64_t> n > 0xFFFFFFFF:
        raise ValueError("more rows than 32 bits can number")
    if n == 0:
        offsets[:] = 0
        return
    with nogil:
        survey_rows(codes, n_groups, time, created, &survey)
    if not survey.codes_fit:
        raise ValueError("a code lies outside of [0, n_groups)")
    if survey.ordered:
        with nogil:
            keep_order(codes, order, offsets)
        return
    if survey.times_ordered and n_groups <= COUNTING_GROUPS:
        with nogil:
            count_by_code(codes, order, offsets)
        return
    words = np.empty(n, np.uint64)
    spare_words = np.empty(n, np.uint64)
    spare_rows = np.empty(n, np.uint32)
    pairs.words, pairs.rows, pairs.spare_words, pairs.spare_rows = &words[0], &order[0], &spare_words[0], &spare_rows[0]
    pairs.count = n
    with nogil:
        sort_fields(codes, time, created, &survey, &pairs, offsets)
        if pairs.rows != &order[0]:
            order[:] = spare_rows


def sort_words(
    uint64_t[::1] words,           # IN, OUT  [n]
    uint32_t[::1] rows,            # IN, OUT  [n] moves with the words
    uint64_t[::1] spare_words,     # OUT  [n] scratch
    uint32_t[::1] spare_rows,      # OUT  [n] scratch
    int bits,                      # IN   words are below 2^bits
):
    """Sort words, carrying rows along; stable. True if the answer is in the spare arrays."""
    cdef Py_ssize_t n = words.shape[0]
    cdef Pairs pairs
    if rows.shape[0] != n or spare_words.shape[0] != n or spare_rows.shape[0] != n:
        raise ValueError("words, rows and their spares differ in length")
    if not 0 <= bits <= WORD_BITS or <uint64_t> n > 0xFFFFFFFF:
        raise ValueError("bits lie in [0, 64], and 32 bits number the rows")
    if n == 0:
        return False
    pairs.words, pairs.rows, pairs.spare_words, pairs.spare_rows = &words[0], &rows[0], &spare_words[0], &spare_rows[0]
    pairs.count = n
    with nogil:
        sort_pairs(&pairs, bits)
    return pairs.words != &words[0]
