"""Run a function in a forked child and learn how it ended; for tests of what survives a fork."""

import os
import pickle
import traceback
from collections.abc import Callable
from typing import Any


def in_forked_child(function: Callable[[], Any]) -> Any:
    """What the function returned in the child; its exception is raised here as an AssertionError."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            answer: tuple[bool, Any] = (True, function())
        except BaseException:  # noqa: BLE001 - it is raised again in the parent
            answer = (False, traceback.format_exc())
        os.write(writing, pickle.dumps(answer))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        packed = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child died: {status}"
    succeeded, value = pickle.loads(packed)
    assert succeeded, value
    return value
