"""Care: how the file is, whether it is whole, and keeping it so."""

import os
from typing import Any

from mlstore.engine import compacting, inspection, optimizing
from mlstore.errors import CorruptionError
from mlstore.face.base import Face, check_choice, user


class Care(Face):
    """What keeps the file well."""

    def info(self) -> dict[str, Any]:
        """Sizes, counts and time ranges of the file and of each view and table."""
        with self._session.reading() as context:
            return inspection.describe(context)

    def verify(self) -> inspection.VerifyReport:
        """Prove the file whole: pages, commits, every checksum, counts, and that online values equal the history.

        Raises
        ------
        CorruptionError
            Something is wrong; the message lists what.
        """
        with self._session.reading() as context:
            report = inspection.verify(context)
        if report.problems:
            raise CorruptionError("; ".join(report.problems), hint="restore a backup; read what can still be read first")
        return report

    def optimize(self, *, table: str | None = None, tier: optimizing.Tier | None = None) -> dict[str, Any]:
        """Do now what the write path would do in time: seal tails, merge segments, let expired rows go, free space.

        Parameters
        ----------
        table : str, optional
            Only this view or table.
        tier : {"hot", "cold"}, optional
            Move its segments: "cold" packs them with zstd (small), "hot" stores them raw (zero-copy).
        """
        if tier is not None:
            check_choice("tier", tier, ("hot", "cold"))
        return optimizing.optimize(self._session, table=table, tier=tier, author=user())

    def compact(self) -> compacting.CompactReport:
        """Write the file anew at the size of what lives in it, and put it in the place of the old one at one stroke.

        A file never shrinks by itself: what was freed is kept for later writes. Whatever moment the machine stops at, the path names
        the old file or the new one, whole. It takes as much room on the disk as the new file while it is made.

        All handles of this process see the new file. Arrays that were read stay valid: the old file lives on without a name, and
        keeps its room on the disk, until the last of them is gone. Processes that open the store meanwhile wait.

        Returns
        -------
        CompactReport
            `bytes_before`, `bytes_after`, `bytes_freed`.

        Raises
        ------
        StoreBusyError
            Another process has the store open; nothing was done.
        ReadOnlyError, StoreFullError
        """
        return compacting.compact(self._session)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the store, as of now and without gaps, to a new file, while others read and write."""
        self._session.environment.copy_to(path)
