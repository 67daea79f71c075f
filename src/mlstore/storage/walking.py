"""Walking: reading values of which only those read before tell the keys."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from mlstore.storage.keyspace import Keyspace


class Walk(Protocol):
    """Somebody who finds the way from value to value: ranges first, then keys until none is wanted."""

    def ranges(self) -> list[tuple[bytes, bytes]]:
        """Ranges that are wanted whole, [start, stop) each."""

    def take_ranges(self, found: list[list[bytes]]) -> None:
        """The values of each range, in order; only where ranges were wanted."""

    def wanted(self) -> list[bytes]:
        """The keys that are wanted next."""

    def take(self, values: list[bytes | None]) -> None:
        """Their values."""


def follow(walk: Walk, get_many: Callable[[list[bytes]], list[bytes | None]], scan: Callable[[bytes, bytes], Iterable[bytes]]) -> None:
    """Give a walk all that it wants."""
    ranges = walk.ranges()
    if ranges:
        walk.take_ranges([list(scan(start, stop)) for start, stop in ranges])
    while keys := walk.wanted():
        walk.take(get_many(keys))


class Values(Protocol):
    """Who knows values: a reader, or somebody who knows some of them better."""

    def get_many(self, space: Keyspace, keys: list[bytes]) -> list[bytes | None]:
        """As a reader's."""

    def scan(self, space: Keyspace, *, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As a reader's."""


def walk_through(reader: Values, space: Keyspace, walk: Walk) -> None:
    """Give a walk through a keyspace what a reader sees."""
    follow(
        walk,
        lambda keys: reader.get_many(space, keys),
        lambda start, stop: (value for _, value in reader.scan(space, start=start, stop=stop)),
    )
