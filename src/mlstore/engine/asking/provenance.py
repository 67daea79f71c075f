"""Provenance: what a training set carries of where it came from, and its making anew."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

from mlstore.engine.session import ReadContext
from mlstore.engine.versions import newest
from mlstore.errors import UsageError

_VERSION, _FEATURES, _FINGERPRINT, _LABELS = b"mlstore.version", b"mlstore.features", b"mlstore.fingerprint", b"mlstore.labels"


@dataclass(frozen=True, slots=True)
class Spec:
    """What was asked, of which version: enough to ask again."""

    version: str
    features: tuple[str, ...]
    outputs: tuple[str, ...]
    timestamp: str
    known_at: str | None
    full_names: bool
    status: bool
    functions: tuple[tuple[str, str], ...] = ()  # (on-demand view, hash) of each Python function that computed some of it


def version_of(context: ReadContext) -> str:
    """The id of the newest commit that a context sees; "" before the first."""
    commit = newest(context.reader, context.scope)
    return "" if commit is None else commit.id


def describe(spec: Spec, labels: Sequence[bytes], features: Sequence[bytes], label_names: Sequence[str]) -> dict[bytes, bytes]:
    """The schema metadata of a training set: spec, version, and fingerprints of the labels and of everything, from column hashes."""
    of_labels = blake2b(spec.timestamp.encode(), digest_size=16)
    for name, digest in zip(label_names, labels, strict=True):
        of_labels.update(name.encode() + b"\0" + digest)
    of_all = blake2b(_text(spec) + of_labels.digest(), digest_size=16)
    for digest in features:
        of_all.update(digest)
    return {**describe_stream(spec), _LABELS: of_labels.hexdigest().encode(), _FINGERPRINT: of_all.hexdigest().encode()}


def describe_stream(spec: Spec) -> dict[bytes, bytes]:
    """What is known before the rows are: the version and the spec."""
    return {_VERSION: spec.version.encode(), _FEATURES: _text(spec)}


def read_spec(metadata: Mapping[bytes, bytes]) -> Spec:
    """The spec that describes a training set; UsageError if there is none."""
    if _FEATURES not in metadata or _VERSION not in metadata:
        raise UsageError(
            "this is no training set of mlstore: its schema metadata has no mlstore.version and mlstore.features",
            hint="some libraries drop schema metadata: keep training_set(...).schema.metadata and hand it over with labels=",
        )
    try:
        fields: dict[str, Any] = json.loads(metadata[_FEATURES])
        fields |= {name: tuple(fields[name]) for name in ("features", "outputs")}
        fields["functions"] = tuple((view, digest) for view, digest in fields.get("functions", ()))
        return Spec(version=metadata[_VERSION].decode(), **fields)
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"mlstore.features cannot be read: {error}", hint="hand over the metadata as training_set gave it") from error


def fingerprints(metadata: Mapping[bytes, bytes]) -> tuple[bytes | None, bytes | None]:
    """(of the labels, of everything); None where the rows were streamed."""
    return metadata.get(_LABELS), metadata.get(_FINGERPRINT)


def _text(spec: Spec) -> bytes:
    fields = asdict(spec)
    del fields["version"]  # it has a place of its own
    if not fields["functions"]:
        del fields["functions"]
    return json.dumps(fields, sort_keys=True).encode()
