"""Ticks: times as counts of some unit, or as doubles, compared exactly in 128 bits where units differ."""

from libc.math cimport INFINITY, nextafter
from libc.stdint cimport INT64_MIN, int64_t

cdef extern from *:
    """
    #include <stdint.h>
    typedef __int128 mlstore_wide;
    /* (tick + 2^63 if high) * scale */
    static inline mlstore_wide mlstore_widen(int64_t tick, int64_t scale, int high) {
        return ((mlstore_wide) tick + (high ? (mlstore_wide) 1 << 63 : 0)) * scale;
    }
    /* The last tick of the other unit at or before a moment; 0: no tick is. */
    static inline int mlstore_floor(mlstore_wide moment, int64_t scale, int high, int64_t* tick) {
        mlstore_wide count = moment / scale;
        count -= count * scale > moment;
        count -= high ? (mlstore_wide) 1 << 63 : 0;
        if (count < INT64_MIN) return 0;
        *tick = count > INT64_MAX ? INT64_MAX : (int64_t) count;
        return 1;
    }
    static inline mlstore_wide mlstore_apart(mlstore_wide a, mlstore_wide b) { return a < b ? b - a : a - b; }
    """
    ctypedef int64_t wide_t "mlstore_wide"
    wide_t widen "mlstore_widen"(int64_t tick, int64_t scale, bint high) noexcept nogil
    bint floor_to "mlstore_floor"(wide_t moment, int64_t scale, bint high, int64_t* tick) noexcept nogil
    wide_t apart "mlstore_apart"(wide_t one, wide_t other) noexcept nogil

ctypedef fused tick_t:
    int64_t
    double


cdef struct Units:
    int64_t ask_scale           # length of a tick
    bint ask_high               # ticks count from -2^63, as those of uint64 do
    int64_t fact_scale
    bint fact_high


cdef inline Units units_of(tuple ask_unit, tuple fact_unit) except *:
    cdef Units units
    units.ask_scale, units.ask_high = ask_unit
    units.fact_scale, units.fact_high = fact_unit
    if units.ask_scale < 1 or units.fact_scale < 1:
        raise ValueError("a tick has a length")
    return units


cdef inline bint same(const Units* units) noexcept nogil:
    return units.ask_scale == units.fact_scale and units.ask_high == units.fact_high


cdef inline bint find_bound(tick_t ask, const Units* units, bint before, tick_t* bound) noexcept nogil:
    """The last time in the facts' unit at or, with `before`, before the question's. False: there is none."""
    if tick_t is double:
        bound[0] = nextafter(ask, -INFINITY) if before else ask
        return not (before and ask == -INFINITY)
    elif tick_t is int64_t:
        if same(units):
            bound[0] = ask - before if ask != INT64_MIN else ask
            return not (before and ask == INT64_MIN)
        return floor_to(widen(ask, units.ask_scale, units.ask_high) - before, units.fact_scale, units.fact_high, bound)
