"""The as-of join over any two tables. Needs no file: the kernels of history, without history."""
