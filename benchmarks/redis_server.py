"""A Redis server of one's own: a free port of the loopback, a folder, every write in a log that is synced. It dies with its owner."""

from __future__ import annotations

import ctypes
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.workload import NotHere

HOST = "127.0.0.1"
START_SECONDS = 20.0
INSTALL = "no redis-server on the PATH; install the system's package, for instance: apt-get install redis-server"
PR_SET_PDEATHSIG = 1


class RedisServer:
    """The program `redis-server`; whoever asks for it in the same folder later finds its port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._port_file = folder / "port"

    def start(self) -> None:
        """Raises NotHere if the program is not installed; nothing is ever installed from here."""
        program = shutil.which("redis-server")
        if program is None:
            raise NotHere(INSTALL)
        port = free_port()
        given = {"port": port, "bind": HOST, "dir": self._folder, "save": "", "appendonly": "yes", "appendfsync": "always"}
        command = [program, *(word for name, value in given.items() for word in (f"--{name}", str(value)))]
        with open(self._folder / "redis.log", "wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=die_with_parent)
        self._wait(port)
        self._port_file.write_text(str(port))

    @property
    def is_running(self) -> bool:
        """Started from here, and not by another process."""
        return self._process is not None

    @property
    def port(self) -> int:
        return int(self._port_file.read_text())

    @property
    def size_bytes(self) -> int:
        """Of its log and whatever else it keeps on the disk."""
        return sum(path.stat().st_size for path in (self._folder / "appendonlydir").rglob("*") if path.is_file())

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _wait(self, port: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        self.stop()
        raise RuntimeError(f"redis-server did not start: {(self._folder / 'redis.log').read_text()[-500:]}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def die_with_parent() -> None:
    """In the child: a benchmark that is killed must not leave a server behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
