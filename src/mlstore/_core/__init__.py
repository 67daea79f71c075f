"""Compiled kernels over buffers: no view, no pyarrow, no path is known here."""
