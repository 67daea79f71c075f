"""Made-up features of users, and the keys that are asked for: what the online workload works on.

Nothing is kept on the disk: whoever needs rows draws them again. Numbers of binary fractions, so that every store gives them back exactly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

KEY, TIME, VIEW = "user_id", "event_timestamp", "profile"
CLOCK = pa.timestamp("us", "UTC")
EPOCH_US = 1_700_000_000_000_000
DAY_US = 86_400_000_000

NUMBERS, COUNTS, FLAGS, TEXTS = (
    tuple(f"{name}{number}" for number in range(count)) for name, count in (("x", 10), ("n", 5), ("flag", 2), ("text", 3))
)
NAMES = (*NUMBERS, *COUNTS, *FLAGS, *TEXTS)
TYPES = (*[pa.float64()] * len(NUMBERS), *[pa.int64()] * len(COUNTS), *[pa.bool_()] * len(FLAGS), *[pa.string()] * len(TEXTS))
# Of these numbers one in so many is null.
WITH_NULLS, NULL_SHARE = NUMBERS[-2:], 10
# One key in so many that are asked for is unknown.
UNKNOWN_SHARE = 100
WORDS = 10_000

Values = Literal["named", "positional"]
# `full`: a write survives a power cut; `normal`: the last ones may not, and nothing is damaged.
Durability = Literal["full", "normal"]
Answer = dict[str, Any]
Pair = tuple[int, bytes]  # key and packed row
UNKNOWN: Answer = dict.fromkeys(NAMES)


@dataclass(frozen=True, slots=True)
class Features:
    """Twenty mixed features of each of so many keys; two equal ones draw equal rows.

    values: how stores of bytes keep a row: as a map with names in it, or as a list whose meaning is kept elsewhere.
    appends: how many newer rows are appended to a stream.
    """

    keys: int
    values: Values = "named"
    appends: int = 0

    def table(self) -> pa.Table:
        """One row for each key, in random order."""
        random = np.random.default_rng(1)
        return draw(random.permutation(self.keys), random, EPOCH_US)

    def updates(self, rows: int, *, day: int) -> pa.Table:
        """Newer rows of some keys, each key once; the later the day, the newer."""
        random = np.random.default_rng(1000 + day)
        return draw(random.permutation(self.keys)[np.arange(rows) % self.keys], random, EPOCH_US + day * DAY_US)

    def asked(self, count: int, *, seed: int) -> list[int]:
        """Keys at random, some of them unknown."""
        random = np.random.default_rng(seed)
        keys = random.integers(0, self.keys, count)
        unknown = random.random(count) < 1 / UNKNOWN_SHARE
        return [int(key) for key in np.where(unknown, keys + self.keys, keys)]

    def save(self, inputs: Path) -> None:
        (inputs / "features.json").write_text(json.dumps(asdict(self)))


def load_features(inputs: Path) -> Features:
    return Features(**json.loads((inputs / "features.json").read_text()))


def encode_key(key: int) -> bytes:
    """Eight bytes in the order of the keys."""
    return key.to_bytes(8, "big")


def draw(keys: Any, random: np.random.Generator, start_us: int) -> pa.Table:
    """A row for each key within the day that begins at `start_us`."""
    rows = len(keys)
    columns = {KEY: pa.array(keys.astype(np.int64)), TIME: pa.array(start_us + random.integers(0, DAY_US, rows), CLOCK)}
    for name in NUMBERS:
        values = np.round(random.standard_normal(rows) * 25_600) / 256
        columns[name] = pa.array(values, mask=random.random(rows) < 1 / NULL_SHARE if name in WITH_NULLS else None)
    columns |= {name: pa.array(random.integers(0, 1_000_000, rows)) for name in COUNTS}
    columns |= {name: pa.array(random.random(rows) < 0.5) for name in FLAGS}
    words = pa.array([f"word-{number * number}" for number in range(WORDS)])
    columns |= {name: words.take(pa.array(random.integers(0, WORDS, rows))) for name in TEXTS}
    return pa.table(columns)


def checksum_table(table: pa.Table) -> str:
    """A digest of the features of each row, in their order, nulls included."""
    return digest([list(column) for column in zip(*(table[name].to_pylist() for name in NAMES), strict=True)])


def checksum_dicts(answers: Sequence[Mapping[str, Any]]) -> str:
    """The same of answers to one key each."""
    return digest([[answer[name] for name in NAMES] for answer in answers])


def digest(rows: list[list[Any]]) -> str:
    return hashlib.blake2b(repr(rows).encode(), digest_size=8).hexdigest()
