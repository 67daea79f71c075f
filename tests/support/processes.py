"""Children: processes that run a function, tell their parent how far they are, and may be killed at any time."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Literal, Self

PATIENCE_SECONDS = 240  # of a busy machine; to be used up by a deadlock only

Method = Literal["spawn", "forkserver", "fork"]


class Parent:
    """The parent, as its child sees it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def tell(self, word: object) -> None:
        """Out of this process when it returns, so a parent that kills it later hears it still."""
        self._pipe.send(("told", word))

    def has_called(self) -> bool:
        """True once the parent has said something."""
        return self._pipe.poll()

    def hear(self) -> Any:
        """What the parent says next; waits for it."""
        return self._pipe.recv()


class Child:
    """A process that runs `function(parent, *args)`; killed at the end of the `with` block if it still lives."""

    def __init__(self, function: Callable[..., Any], *args: object, method: Method = "forkserver", may_have_children: bool = False) -> None:
        context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            # Imported once, so that each further child starts at once; pyarrow asks for pandas at its first array.
            context.set_forkserver_preload(["mlstore", "lmdb.verify", "pandas"])
        self._pipe, far_end = context.Pipe()
        self.process = context.Process(target=_run, args=(far_end, function, args), daemon=not may_have_children)
        self.process.start()
        far_end.close()

    def has_told(self) -> bool:
        """True if there is something to hear, even if it is only that the child is gone."""
        return bool(self._pipe.poll())

    def say(self, word: object = "stop") -> None:
        self._pipe.send(word)

    def hear(self) -> Any:
        """What the child tells next; its exception is raised here as an AssertionError."""
        kind, word = self._receive()
        assert kind == "told", word
        return word

    def hear_within(self, seconds: float) -> Any:
        """As `hear`, for a child that may be silent for longer, or not so long; a silent one is an AssertionError."""
        kind, word = self._receive(seconds)
        assert kind == "told", word
        return word

    def result(self) -> Any:
        """What the function returned; words not heard so far are lost."""
        while (answer := self._receive())[0] == "told":
            pass
        assert answer[0] == "returned", answer[1]
        self.process.join(PATIENCE_SECONDS)
        return answer[1]

    def kill(self) -> list[Any]:
        """End it by SIGKILL; all it told that was not heard so far."""
        self.process.kill()
        self.process.join(PATIENCE_SECONDS)
        return list(self._rest())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.join(PATIENCE_SECONDS)
        self.process.close()
        self._pipe.close()

    def _receive(self, patience: float = PATIENCE_SECONDS) -> tuple[str, Any]:
        assert self._pipe.poll(patience), "the child is silent"
        try:
            answer: tuple[str, Any] = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(PATIENCE_SECONDS)
            raise AssertionError(f"the child died: {self.process.exitcode}") from None
        return answer

    def _rest(self) -> Iterator[Any]:
        # A kill may cut the last word short.
        try:
            while True:
                kind, word = self._pipe.recv()
                assert kind == "told", word
                yield word
        except (EOFError, ConnectionResetError):
            return


def _run(pipe: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        answer = "returned", function(Parent(pipe), *args)
    except BaseException:  # noqa: BLE001 - it is raised again in the parent
        answer = "raised", traceback.format_exc()
    pipe.send(answer)
