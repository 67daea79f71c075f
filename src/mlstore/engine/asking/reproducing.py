"""Reproducing: a training set made anew, bit for bit, from what it carries of where it came from; or what is missing for that."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from mlstore.engine import versions
from mlstore.engine.asking.provenance import Spec, fingerprints, read_spec
from mlstore.engine.asking.training import Options, training_set
from mlstore.engine.session import Session
from mlstore.errors import FunctionMissingError, ReproductionError, UnknownVersionError, UsageError
from mlstore.schema.frames import to_table


def reproduce(session: Session, source: Any, labels: Any) -> pa.Table:
    """The training set that `source`, or its metadata, tells of; see Store.reproduce."""
    given = source if isinstance(source, pa.Table) else None
    metadata = _metadata_of(source)
    spec = read_spec(metadata)
    asked = _labels(spec, given, labels)
    at_version = _at(session, spec)
    options = Options(spec.timestamp, spec.known_at, None, spec.full_names, spec.status)
    try:
        anew = training_set(at_version, asked, list(spec.features), options)
    except FunctionMissingError as error:
        raise ReproductionError(f"missing: {error.message}", hint=error.hint) from error
    assert isinstance(anew, pa.Table)
    _check_same(spec, metadata, given, anew)
    return anew


def _metadata_of(source: Any) -> dict[bytes, bytes]:
    found = source.schema.metadata if isinstance(source, pa.Table) else source.metadata if isinstance(source, pa.Schema) else source
    if not isinstance(found, Mapping | None):
        raise UsageError(f"{source!r:.60} is no training set", hint="give the table, its schema, or its schema metadata")
    return {_bytes(name): _bytes(value) for name, value in (found or {}).items()}


def _bytes(text: Any) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


def _labels(spec: Spec, given: pa.Table | None, labels: Any) -> pa.Table:
    if labels is not None:
        return to_table(labels, what="labels")
    if given is None:
        raise UsageError("metadata alone does not hold the labels", hint="give the training set itself, or labels=")
    labels_only = given.select([name for name in given.column_names if name not in spec.outputs])
    kept = {name: value for name, value in (given.schema.metadata or {}).items() if not name.startswith(b"mlstore.")}
    return labels_only.replace_schema_metadata(kept or None)


def _at(session: Session, spec: Spec) -> Session:
    try:
        with session.reading() as context:
            scope = versions.scope_of(context.reader, versions.resolve(context.reader, context.scope, spec.version))
    except UnknownVersionError as error:
        raise ReproductionError(
            f"missing: commit {spec.version or '(none)'}, which the training set was made from, is not in {session.environment.path}",
            hint="open the file it was made with, or a backup of it",
        ) from error
    return session.at(scope, spec.version)


def _check_same(spec: Spec, metadata: Mapping[bytes, bytes], given: pa.Table | None, anew: pa.Table) -> None:
    labels, everything = fingerprints(metadata)
    labels_now, everything_now = fingerprints(anew.schema.metadata)
    if labels is not None and labels != labels_now:
        raise ReproductionError(
            "missing: the labels are not those of the training set: rows, columns or values differ",
            hint="give labels= as they were, unchanged and in the same order",
        )
    if everything is not None and everything != everything_now:
        raise ReproductionError(f"missing: {_what_differs(spec, given, anew)}", hint=_CURE)
    if everything is None and given is not None and not _equal(given, anew, spec.outputs):
        raise ReproductionError(f"missing: {_what_differs(spec, given, anew)}", hint=_CURE)


_CURE = "rows deleted, expired or forgotten since are kept only for snapshots: take a snapshot of versions to be reproduced"


def _what_differs(spec: Spec, given: pa.Table | None, anew: pa.Table) -> str:
    version = f"the rows of version {spec.version[:12]} are no longer as they were"
    if given is None:
        return version
    told = []
    for name in spec.outputs:
        if name not in given.column_names:
            told.append(f"{name} (not in the table given)")
        elif not _equal(given, anew, (name,)):
            told.append(name)
    return (
        f"{version}: {', '.join(told)} come out otherwise"
        if told
        else f"the table given is as made anew, but its metadata is not: {version}"
    )


def _equal(given: pa.Table, anew: pa.Table, names: tuple[str, ...]) -> bool:
    """Whether columns hold the same, NaN being itself."""
    for name in names:
        left, right = given[name].combine_chunks(), anew[name].combine_chunks()
        if left.type != right.type or not left.equals(right):
            return False
    return True
