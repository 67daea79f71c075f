"""Words: 64-bit integers whose number is not known beforehand; for kernels only."""
