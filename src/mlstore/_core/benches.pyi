"""Benches: room to put windows together, from runs of records and events gathered from leaves; for kernels only."""
