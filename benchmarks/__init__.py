"""Benchmarks: one workload, many engines, each in a process of its own, compared only if their answers agree."""
