"""Glances: a few values as one commit has them, for the price of LMDB's own begin, get and abort.

A `Reader` can be kept, asked again, and found by a fork or a new mapping; a glance is over before anybody could look for it.
Invariant: it never looks at a provisional map, which may be replaced while transactions that nobody registered are at work.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lmdb

from mlstore.storage.environment import Environment
from mlstore.storage.failures import translate
from mlstore.storage.keyspace import Keyspace
from mlstore.storage.ranges import iterate_forward
from mlstore.storage.walking import Walk, follow, walk_through

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


def glance_through(
    environment: Environment,
    space: Keyspace,
    keys: Sequence[bytes],
    walks: tuple[Keyspace, Sequence[Walk]],
    guards: Sequence[Guard],
    known: Moment,
    approves: Callable[[list[bytes | None]], bool],
) -> tuple[list[bytes | None], Moment] | None:
    """The values of the keys, and walks through another keyspace, at one consistent point, which that is.

    None, and nothing was walked: the values of the guards are not approved. At the `known` moment they need not be asked about.
    """
    mapped = environment.use()
    handles = mapped.handles
    handle, through = handles.get(space.name), handles.get(walks[0].name)
    if mapped.is_provisional or handle is None or through is None:
        return _read_through(environment, space, keys, walks, guards, approves)
    try:
        transaction = mapped.begin_read(through)
        try:
            get = transaction.get
            moment = mapped.mapping, transaction.id()
            if moment != known:
                held = [handles.get(guarded.name) for guarded, _ in guards]
                if None in held:
                    return _read_through(environment, space, keys, walks, guards, approves)
                if not approves([get(key, None, guarded) for (_, key), guarded in zip(guards, held, strict=True)]):
                    return None
            for walk in walks[1]:
                follow(walk, lambda wanted: list(map(get, wanted)), lambda start, stop: _scan(transaction, start, stop))
            return [get(key, None, handle) for key in keys], moment
        finally:
            transaction.abort()
    except lmdb.Error as error:
        raise translate(error, environment.path, f"read keys of {space.name} and {walks[0].name}") from error


def _scan(transaction: Any, start: bytes, stop: bytes) -> Iterator[bytes]:
    return (value for _, value in iterate_forward(transaction.cursor(), start, stop, keys_only=False))


def _read_through(
    environment: Environment,
    space: Keyspace,
    keys: Sequence[bytes],
    walks: tuple[Keyspace, Sequence[Walk]],
    guards: Sequence[Guard],
    approves: Callable[[list[bytes | None]], bool],
) -> tuple[list[bytes | None], Moment] | None:
    """The same by a Reader."""
    with environment.reader(views=False) as reader:
        if not approves([reader.get(guarded, key) for guarded, key in guards]):
            return None
        for walk in walks[1]:
            walk_through(reader, walks[0], walk)
        return [reader.get(space, key) for key in keys], (reader.mapping, reader.txn_id)
