"""What a mapped file tells of itself: figures, and whether its pages are sound."""

from typing import Any, Final

import lmdb

from mlstore.storage.failures import translate
from mlstore.storage.mapped_file import MappedFile
from mlstore.storage.pages import find_page_damage

_VERIFY_TRIES: Final = 5


def measure(mapped: MappedFile, *, shown: str) -> dict[str, Any]:
    """Sizes, pages, last commit, readers."""
    try:
        return _figures(mapped, shown)
    except lmdb.Error as error:
        raise translate(error, shown, "look at it") from error


def find_damage(mapped: MappedFile, *, shown: str) -> list[str]:
    """What is wrong with the pages; nothing if all is well. The caller keeps writers away."""
    # Where writers of other processes could not be made to wait, what they changed meanwhile would look like damage.
    problems: list[str] = []
    for _ in range(_VERIFY_TRIES):
        last_txn_id = mapped.env.info()["last_txnid"]
        problems = find_page_damage(mapped.path, shown=shown)
        if not problems or mapped.env.info()["last_txnid"] == last_txn_id:
            break
    return problems


def _figures(mapped: MappedFile, shown: str) -> dict[str, Any]:
    handles = mapped.find_keyspaces(shown)
    with mapped.begin_read() as transaction:
        environment = mapped.env.info()
        trees = [transaction.stat(), *(transaction.stat(handle) for handle in handles.values())]
        last_txn_id = transaction.id()
    page_count = environment["last_pgno"] + 1
    used = sum(tree["branch_pages"] + tree["leaf_pages"] + tree["overflow_pages"] for tree in trees)
    # One line a slot: process, thread, commit seen; "-" for a slot at rest.
    seen = [int(line.split()[2]) for line in mapped.env.readers().splitlines()[1:] if line.split()[2].isdigit()]
    return {
        "map_bytes": environment["map_size"],
        "last_txn_id": last_txn_id,
        "page_bytes": trees[0]["psize"],
        "page_count": page_count,
        # Two pages are the meta pages; those of the free list itself count as free.
        "free_pages": max(0, page_count - 2 - used),
        "readers": len(seen),
        "oldest_reader_txn_id": min(seen, default=None),
        "max_readers": environment["max_readers"],
        "keyspaces": {name: tree["entries"] for name, tree in zip(handles, trees[1:], strict=True)},
    }
