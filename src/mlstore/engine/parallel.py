"""Work shared between threads: for kernels and libraries that let go of the interpreter while they run."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mlstore.engine import limits

Answer = TypeVar("Answer")


def in_parallel(jobs: Sequence[Callable[[], Answer]], size: int) -> list[Answer]:
    """The answers of the jobs, in order; by several threads if the work is large. size: rows at stake.

    The threads end with the call: a pool kept for later would not survive a fork.
    """
    workers = min(limits.READ_THREADS, len(jobs))
    if workers < 2 or size < limits.PARALLEL_ROWS:
        return [job() for job in jobs]
    with ThreadPoolExecutor(workers, "mlstore-read") as pool:
        return list(pool.map(lambda job: job(), jobs))
