"""Peak memory of a step, seen from outside: a second process reads what the first has resident, a thousand times a second.

Memory of its own (anonymous pages: what a program allocates) is kept apart from pages of files mapped in, which the system may drop.
Run as a program it is that second process: `python memory.py PID` says "ready" and, once its input ends, the greatest of either in bytes.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

INTERVAL_SECONDS = 0.001
OWN, MAPPED = "RssAnon:", "RssFile:"


@dataclass(slots=True)
class Peak:
    """Above what was resident before; 0 where the system keeps no such count."""

    own_bytes: int = 0
    mapped_bytes: int = 0


@contextmanager
def watch_memory(own_before: int | None = None) -> Iterator[Peak]:
    """The peak, known once the body is done. It takes time from the body: do not measure seconds along with it.

    own_before: what was its own before, if not what is now: an allocator may hold memory that it has freed, and fill it again unseen.
    """
    peak = Peak()
    if sys.platform != "linux":
        yield peak
        return
    give_back()
    own_now, mapped_before = resident(os.getpid())
    command = [sys.executable, "-S", "-E", __file__, str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watcher:
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        watcher.stdout.readline()
        try:
            yield peak
        finally:
            watcher.stdin.close()
            own, mapped = (int(number) for number in watcher.stdout.readline().split())
    peak.own_bytes, peak.mapped_bytes = max(0, own - (own_now if own_before is None else own_before)), max(0, mapped - mapped_before)


def give_back() -> None:
    """Return freed memory to the system, lest a step find it there and seem to need none."""
    gc.collect()
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def own_bytes() -> int:
    """What this process has allocated by now; 0 where the system keeps no such count."""
    if sys.platform != "linux":
        return 0
    give_back()
    return resident(os.getpid())[0]


def resident(process: int) -> tuple[int, int]:
    """Bytes of its own and of mapped files."""
    with open(f"/proc/{process}/status") as status:
        sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in status if line.startswith((OWN, MAPPED))}
    return sizes[OWN], sizes[MAPPED]


def watch(process: int) -> None:
    own, mapped = resident(process)
    print("ready", flush=True)
    is_done = False
    while not is_done:
        is_done = bool(select.select([sys.stdin], [], [], INTERVAL_SECONDS)[0])
        now = resident(process)
        own, mapped = max(own, now[0]), max(mapped, now[1])
    print(own, mapped, flush=True)


if __name__ == "__main__":
    watch(int(sys.argv[1]))
