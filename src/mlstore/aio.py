"""Asyncio: a store's reads and writes as coroutines that never hold up the event loop.

One key is answered at once, in the loop: that takes microseconds, a thread would take longer to wake. Everything else runs in threads of
the store's own. LMDB and the kernels let go of the GIL.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, Protocol, Self, TypeVar

from mlstore.engine.asking.reader import is_column
from mlstore.errors import ClosedError

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

THREADS = min(8, (os.cpu_count() or 1) + 2)


class Synchronous(Protocol):
    """The store behind."""

    @property
    def path(self) -> str: ...
    def online_features(self, features: Any, keys: Any, **options: Any) -> Any: ...
    def training_set(self, labels: Any, features: Any, **options: Any) -> Any: ...
    def read(self, name: str, **options: Any) -> Any: ...
    def write(self, name: str, data: Any, **options: Any) -> Any: ...
    def delete(self, name: str, **options: Any) -> Any: ...


class AsyncStore:
    """A store for asyncio; `store.aio`. Its methods take what the store's take.

    A coroutine that is cancelled stops waiting at once. A call that has not begun then never does; one that is at work goes on to
    its end in its thread: a write is still all or nothing, and a cancelled one may have been done.
    """

    def __init__(self, store: Synchronous) -> None:
        self._store = store
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()
        self._is_closed = False

    async def online_features(self, features: Any, keys: Any, **options: Any) -> Any:
        """See `Store.online_features`."""
        if isinstance(keys, Mapping) and options.get("last_n") is None and not any(map(is_column, keys.values())):
            self._require_open()
            return self._store.online_features(features, keys, **options)
        return await self.run(self._store.online_features, features, keys, **options)

    async def training_set(self, labels: Any, features: Any, **options: Any) -> Any:
        """See `Store.training_set`."""
        return await self.run(self._store.training_set, labels, features, **options)

    async def read(self, name: str, **options: Any) -> Any:
        """The rows as a `pyarrow.Table`, loaded; see `Store.read`."""
        return await self.run(lambda: self._store.read(name, **options).table())

    async def write(self, name: str, data: Any, **options: Any) -> Any:
        """See `Store.write`."""
        return await self.run(self._store.write, name, data, **options)

    async def delete(self, name: str, **options: Any) -> Any:
        """See `Store.delete`."""
        return await self.run(self._store.delete, name, **options)

    async def run(self, function: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        """Any other call, in a thread: `await store.aio.run(store.snapshot, "v1")`."""
        self._require_open()
        return await asyncio.get_running_loop().run_in_executor(self._threads(), partial(function, *args, **kwargs))

    async def close(self) -> None:
        """Wait for the calls at work; those that wait for a thread are cancelled. The store itself stays open."""
        self._is_closed = True
        pool, self._pool = self._pool, None
        if pool is not None and self._process == os.getpid():
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _threads(self) -> ThreadPoolExecutor:
        # The threads of a parent do not live on in a forked child.
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = ThreadPoolExecutor(THREADS, thread_name_prefix="mlstore"), os.getpid()
        return self._pool

    def _require_open(self) -> None:
        if self._is_closed:
            raise ClosedError(f"{self._store.path}: its asyncio side is closed", hint="use another handle: ml.open(path)")
