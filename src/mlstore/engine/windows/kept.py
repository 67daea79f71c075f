"""Kept tiles: what a view may keep of its source's events, so that an answer needs few of them, and has the same bits.

Kept are the states of outputs that merge, over stretches of time, of numbers, without categories (`is_kept`). The rest comes from events.
A record is the states of a layout side by side, in 64-bit words; `_core/tiles.pyi` tells them one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlstore.engine.windows.plan import Int64


@dataclass(frozen=True, slots=True)
class KeptTiles:
    """Tiles of some keys, level after level. offsets: [levels, keys + 1]; start: first ticks, ascending; records: [tiles, words]."""

    offsets: Int64
    start: Int64
    records: Int64
