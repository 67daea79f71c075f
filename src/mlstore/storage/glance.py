"""Glances: a few values as one commit has them, for the price of LMDB's own begin, get and abort.

A `Reader` can be kept, asked again, and found by a fork or a new mapping; a glance is over before anybody could look for it.
Invariant: it never looks at a provisional map, which may be replaced while transactions that nobody registered are at work.
"""

from collections.abc import Sequence

import lmdb

from mlstore.storage.environment import Environment
from mlstore.storage.failures import translate
from mlstore.storage.keyspace import Keyspace

Guard = tuple[Keyspace, bytes]
Moment = tuple[int, int]  # the mapping and the number of the commit, which begins anew in a compacted file


def glance(
    environment: Environment, space: Keyspace, keys: Sequence[bytes], guard: Guard, known: Moment
) -> tuple[list[bytes | None], Moment, bytes | None]:
    """The values of the keys at one consistent point, which that is, and the guard's value then.

    The guard is left unread (None) at the `known` moment, at which the caller knows it already.
    """
    mapped = environment.use()
    handle = mapped.handles.get(space.name)
    if handle is None or mapped.is_provisional:
        return _read(environment, space, keys, guard)
    try:
        transaction = mapped.begin_read(handle)
        get = transaction.get
        # One key is asked for most often, and a map has to be made.
        values: list[bytes | None] = [get(keys[0])] if len(keys) == 1 else list(map(get, keys))
        moment = mapped.mapping, transaction.id()
        told = None
        if moment != known:
            guard_handle = mapped.handles.get(guard[0].name)
            if guard_handle is None:
                transaction.abort()
                return _read(environment, space, keys, guard)
            told = get(guard[1], None, guard_handle)
        transaction.abort()
    except lmdb.Error as error:
        raise translate(error, environment.path, f"read a key of {space.name}") from error
    return values, moment, told


def _read(
    environment: Environment, space: Keyspace, keys: Sequence[bytes], guard: Guard
) -> tuple[list[bytes | None], Moment, bytes | None]:
    """The same by a Reader."""
    with environment.reader(views=False) as reader:
        return [reader.get(space, key) for key in keys], (reader.mapping, reader.txn_id), reader.get(*guard)
