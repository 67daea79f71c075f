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


FEW = 7  # a small file has so much fewer rows than others: a soak can look at more of them


def limits_for(part: int) -> dict[str, int]:
    """Such that a store with this part of the rows does the same as one with all."""
    return {name: size // part if name.endswith("_ROWS") else size for name, size in LIMITS.items()}


def shrink_limits(part: int = 1) -> None:
    """For the whole life of this process."""
    for name, size in limits_for(part).items():
        setattr(limits, name, size)
