"""Mirroring: copies of a store that follow it, each updated with what it lacks."""

import os

from mlstore.engine.keeping import copying, mirroring
from mlstore.engine.mirror import MirrorOf, drop_mirror, find_mirror
from mlstore.errors import StoreBusyError, UsageError
from mlstore.face.base import Face
from mlstore.storage.environment import Environment
from mlstore.version import __version__

Path = str | os.PathLike[str]


class Mirroring(Face):
    """What moves between files."""

    def clone(self, path: Path) -> None:
        """Copy the store to a new file that follows it: a mirror, with all versions, branches and online values, which only reads.

        `push` from here, or `pull` there, brings it up to date; `detach` makes it a store of its own.

        Raises
        ------
        AlreadyExistsError
            There is a file of that name.
        """
        self._session.require_outside("clone")
        copying.clone(self._session, path, writer_version=__version__)

    def push(self, path: Path) -> mirroring.MirrorReport:
        """Bring a mirror of this store up to date. Only what it lacks travels: new segments, and small records that have changed.

        Readers of the mirror go on meanwhile, and see it as it was or as it is; arrays they hold stay valid. Interrupted, it is finished by
        the next one, which does not bring the segments again.

        Returns
        -------
        MirrorReport
            `commits`, `extents`, `extent_bytes`, `records`.

        Raises
        ------
        UsageError
            The file is no mirror of this store.
        """
        self._session.require_outside("push")
        _require_file(path)
        with Environment.open(path, writer_version=__version__) as target:
            return mirroring.update(self._session.environment, target, now_us=self._session.clock_us())

    def pull(self, path: Path | None = None) -> mirroring.MirrorReport:
        """Bring this mirror up to date with its origin, or with another mirror of that; see `push`.

        Parameters
        ----------
        path : str or path, optional
            Where the origin is, if not where it was the last time. A newer clone that somebody carried here will do.
        """
        self._session.require_outside("pull")
        mirror = self.mirror_of()
        if mirror is None:
            raise UsageError(f"{self._session.environment.path} is a store of its own, no mirror", hint="make a mirror with clone()")
        origin = mirror.origin if path is None else path
        _require_file(origin)
        with Environment.open(origin, read_only=True, writer_version=__version__) as source:
            return mirroring.update(source, self._session.environment, now_us=self._session.clock_us())

    def mirror_of(self) -> MirrorOf | None:
        """What this file mirrors (`origin`), and since when it is equal to it (`time`); None: it is a store of its own."""
        with self._session.reading() as context:
            return find_mirror(context.reader)

    def detach(self) -> None:
        """Make this mirror a store of its own, which can be written and follows nobody any more.

        Raises
        ------
        StoreBusyError
            Arrays of some process show rows that the origin has dropped. Let go of them, and `pull`.
        """
        self._session.require_outside("detach")
        with self._session.environment.writer() as writer:
            if mirroring.left_extents(writer):
                raise StoreBusyError(
                    f"{self._session.environment.path}: arrays show rows that its origin has dropped", hint="let go of them, and pull()"
                )
            drop_mirror(writer)


def _require_file(path: Path) -> None:
    if not os.path.isfile(path):
        raise UsageError(f"{os.fspath(path)}: no such file", hint="make a mirror with clone()")
