"""Limits so small that a few hundred rows seal tails, merge runs, and stage a bulk load in many transactions; for child processes."""

from __future__ import annotations

from mlstore.engine import limits

LIMITS = {
    "TAIL_ROWS": 300,
    "DIRECT_ROWS": 200,
    "SEGMENT_ROWS": 256,
    "FANOUT": 3,
    "CHUNK_BYTES": 1 << 14,
    "STAGE_BYTES": 1 << 13,
    "RECENT_COMMITS": 2,
}


def shrink_limits() -> None:
    """For the whole life of this process."""
    for name, size in LIMITS.items():
        setattr(limits, name, size)
