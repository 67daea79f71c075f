"""Handle: one user's hold on a mapped file: its rights, its durability, and what can be asked of the file as a whole.

Handles of one file share one mapping and may differ in rights. A handle survives a fork: it opens the file anew in the child.
"""

import os
from collections.abc import Callable
from typing import Any, Final, Literal

from mlstore.errors import ClosedError, ReadOnlyError, StoreError
from mlstore.storage.backup import copy_environment
from mlstore.storage.compaction import replace_file
from mlstore.storage.failures import translate
from mlstore.storage.inspection import find_damage, measure
from mlstore.storage.lease import LeaseBook
from mlstore.storage.mapped_file import MappedFile
from mlstore.storage.registry import hand_over, map_file

MEMORY: Final = ":memory:"

Durability = Literal["full", "normal"]


class Handle:
    """A hold on a store file, from which transactions are begun. May be used from several threads."""

    def __init__(self, mapped: MappedFile, path: str, *, read_only: bool, durability: Durability) -> None:
        self._mapped: MappedFile | None = mapped
        self._path = path
        self._place = mapped.path
        self._is_read_only = read_only
        self._durability: Durability = durability
        self._file_id = mapped.file_id
        self._failures_at_open = mapped.failures
        self._on_remap: list[Callable[[], object]] = []
        with mapped.gate:
            mapped.holders.add(self)

    @property
    def path(self) -> str:
        """The absolute path of the file, or ":memory:"."""
        return self._path

    @property
    def is_read_only(self) -> bool:
        """True if this handle refuses to write."""
        return self._is_read_only

    @property
    def durability(self) -> Durability:
        """What a commit waits for: "full" or "normal"."""
        return self._durability

    @property
    def is_closed(self) -> bool:
        """True after `close()`."""
        return self._mapped is None

    @property
    def file_id(self) -> str:
        """The identity of the store, given when it was made and kept by its copies."""
        return self._file_id

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        mapped = self.use()
        try:
            return os.stat(mapped.path).st_size
        except OSError as error:
            raise translate(error, self._path, "look at it") from error

    @property
    def leases(self) -> LeaseBook:
        """The leases of this file held by this process."""
        return self.use().leases

    def on_remap(self, callback: Callable[[], object]) -> None:
        """Call this before addresses given by views become void; whoever keeps some must forget them then.

        It happens in a process that opened the file while another was writing, and now writes itself; and when the file was compacted.
        """
        self._on_remap.append(callback)

    def info(self) -> dict[str, Any]:
        """Figures of the file: sizes, pages, last commit, readers."""
        return measure(self.use(), shown=self._path)

    def copy_to(self, path: str | os.PathLike[str], *, check: Callable[[str], None] | None = None) -> None:
        """A consistent, compact copy in a new file, on the disk when this returns; writers go on meanwhile.

        `check` is given the copy before it gets its name, and may raise to have it thrown away.
        """
        mapped = self.use()  # held here: an error that somebody keeps must not keep the map without its place in the register
        copy_environment(mapped.env, os.fspath(path), source=self._path, check=check)

    def verify_pages(self) -> list[str]:
        """What is wrong with the pages of the file; nothing if all is well. Writers wait meanwhile, where they can be made to."""
        while True:
            mapped = self.use()
            with mapped.still(self._path):
                # Another thread may have compacted the file while this one waited; once more, then.
                if not mapped.is_replaced:
                    return find_damage(mapped, shown=self._path)

    def compact(self) -> None:
        """Write the file anew at the size of what lives in it. Other processes must not have it open; those that come meanwhile wait.

        Transactions and arrays of this process stay valid: the old file lives on, without a name, until the last of them is gone.
        """
        while True:
            mapped = self.use_for_writing()
            with mapped.still(self._path):
                if mapped.is_replaced:
                    continue
                self.require_sound(mapped)
                replace_file(mapped, shown=self._path)
                hand_over(mapped, self.use())
                with mapped.gate:
                    holders = list(mapped.holders)
                for holder in holders:
                    holder.move_on()
                return

    def close(self) -> None:
        """Let go of the file. Transactions at work end by themselves; arrays still looked at keep the file mapped."""
        self._mapped = None

    def use(self) -> MappedFile:
        """The mapping; opened anew in the child of a fork, and after a compaction."""
        mapped = self._mapped
        if mapped is None:
            raise self._closed()
        return self._open_again() if mapped.is_inherited or mapped.is_replaced else mapped

    def use_for_writing(self) -> MappedFile:
        """The mapping, if this handle may write."""
        if self._is_read_only:
            raise ReadOnlyError(f"{self._path}: this handle only reads", hint="open it without read_only=True")
        return self.use()

    def require_sound(self, mapped: MappedFile) -> None:
        """Refuse to write after a commit failed: what the disk holds is not known until the file is opened again."""
        if mapped.failures != self._failures_at_open:
            raise StoreError(
                f"{self._path}: a commit failed before, so this handle writes no more", hint="close it, open it again, run verify()"
            )

    def move_on(self) -> None:
        """Hold the file that took the place of this one: an idle handle must not keep the old one on the disk."""
        if not self.is_closed:
            self.use()

    @property
    def forgets_addresses(self) -> bool:
        """True if nobody is left with addresses when the file is mapped anew."""
        return self.is_closed or bool(self._on_remap)

    def forget_addresses(self) -> None:
        """Tell whoever keeps addresses that they become void now."""
        for callback in self._on_remap:
            callback()

    def _open_again(self) -> MappedFile:
        is_private = self._path == MEMORY
        mapped = map_file(self._place, None, shown=self._path, is_meta_synced=self._durability == "full", is_synced=not is_private)
        if mapped.file_id != self._file_id:
            raise StoreError(f"{self._path}: was replaced by another store", hint="open it again")
        with mapped.gate:
            mapped.holders.add(self)
        self.forget_addresses()
        self._mapped = mapped
        self._failures_at_open = mapped.failures
        return mapped

    def _closed(self) -> ClosedError:
        return ClosedError(f"{self._path}: the store is closed", hint="open it again")
