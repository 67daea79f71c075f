"""Damage: the ways in which a file comes to differ from what was written, and forgeries that a stranger would try."""

from __future__ import annotations

import random
from collections.abc import Callable

PAGE = 4096
EVIL_NUMBERS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)

Damage = Callable[[bytearray, random.Random], None]


def flip(data: bytearray, dice: random.Random) -> None:
    """One bit, or a few of them, near each other or not."""
    near = dice.randrange(len(data))
    for _ in range(dice.choice([1, 1, 1, 2, 8])):
        place = near + dice.randrange(64) if dice.random() < 0.5 else dice.randrange(len(data))
        data[place % len(data)] ^= 1 << dice.randrange(8)


def scribble(data: bytearray, dice: random.Random) -> None:
    """A run of other bytes."""
    start = dice.randrange(len(data))
    size = min(dice.choice([1, 2, 4, 8, 64, 512, PAGE]), len(data) - start)
    kind = dice.randrange(3)
    data[start : start + size] = bytes(size) if kind == 0 else b"\xff" * size if kind == 1 else dice.randbytes(size)


def write_number(data: bytearray, dice: random.Random) -> None:
    """A number that a count, an offset or a page number should not be."""
    width = dice.choice([1, 2, 4, 8])
    place = dice.randrange(max(1, len(data) - width)) // width * width
    number = dice.choice(EVIL_NUMBERS) & ((1 << 8 * width) - 1)
    data[place : place + width] = number.to_bytes(width, dice.choice(["little", "big"]))


def cut(data: bytearray, dice: random.Random) -> None:
    """The end is missing. Something is left: an empty file is a new store."""
    size = dice.randrange(1, len(data))
    del data[size // PAGE * PAGE or 1 if dice.random() < 0.5 else size :]


def splice(data: bytearray, dice: random.Random) -> None:
    """A part of the file written over another one."""
    size = min(dice.choice([16, 64, 512, PAGE, 4 * PAGE]), len(data) // 2)
    start, target = dice.randrange(len(data) - size), dice.randrange(len(data) - size)
    if dice.random() < 0.7:
        start, target = start // PAGE * PAGE, target // PAGE * PAGE
    data[target : target + size] = data[start : start + size]


def damage_head(data: bytearray, dice: random.Random) -> None:
    """The two pages that tell where everything is."""
    start = dice.choice([0, PAGE])
    head = data[start : start + 256]
    dice.choice([flip, scribble, write_number])(head, dice)
    data[start : start + 256] = head[:256]


def damage_page_head(data: bytearray, dice: random.Random) -> None:
    """Number, flags, bounds, and the places of the nodes of one page."""
    start = dice.randrange(len(data) // PAGE) * PAGE
    size = dice.choice([16, 32, 64])
    head = data[start : start + size]
    dice.choice([flip, write_number])(head, dice)
    data[start : start + size] = head[:size]


DAMAGES: dict[str, Damage] = {
    "flip": flip,
    "scribble": scribble,
    "number": write_number,
    "cut": cut,
    "splice": splice,
    "head": damage_head,
    "page head": damage_page_head,
}
