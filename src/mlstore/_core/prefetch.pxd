"""Prefetch: a hint to the processor to fetch a cache line that will be read soon; nothing where the compiler has no such hint."""

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #define mlstore_prefetch(address) __builtin_prefetch(address)
    #else
    #define mlstore_prefetch(address) ((void) (address))
    #endif
    """
    void prefetch "mlstore_prefetch"(const void* address) noexcept nogil
