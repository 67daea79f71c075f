"""Arguments of on-demand views: the columns one is computed from, where each comes from, and what types come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mlstore.errors import DefinitionError, UnknownNameError
from mlstore.schema.dtypes import DType
from mlstore.schema.layout import Field, Layout
from mlstore.schema.ondemand import OnDemandView
from mlstore.schema.reference import Reference, parse_reference


@dataclass(frozen=True, slots=True)
class Argument:
    """A column that an on-demand view is computed from: its name and type, and the one feature it is; None: the request brings it."""

    name: str
    dtype: DType
    feature: Reference | None


def resolve_arguments(view: OnDemandView, features_of: Callable[[Reference], Sequence[Field]]) -> tuple[Argument, ...]:
    """The arguments, inputs first; `features_of` tells the features of the view that a reference names.

    A bare name where it is the only one of its kind, else `view__feature`. DefinitionError: two are called alike all the same.
    """
    found: list[tuple[Reference, Field]] = []
    for reference in map(parse_reference, view.references):
        features = [field for field in features_of(reference) if reference.feature in (None, field.name)]
        found += [(replace(reference, feature=field.name), field) for field in features]
    uses = Counter([*(reference.prefix + field.name for reference, field in found), *view.request])
    named = []
    for reference, field in found:
        is_alone = uses[reference.prefix + field.name] == 1
        name = field.name if is_alone else f"{reference.view}__{field.name}"
        named.append(Argument(reference.prefix + name, field.dtype, reference))
    named += [Argument(name, dtype, None) for name, dtype in view.request.items()]
    twice = [name for name, count in Counter(argument.name for argument in named).items() if count > 1]
    if twice:
        raise DefinitionError(f"on-demand view {view.name}: two columns are called {twice[0]!r}", hint="name one with ml.ref(..., prefix=)")
    return tuple(named)


def ondemand_layout(view: OnDemandView, arguments: Sequence[Argument]) -> Layout:
    """The features of an on-demand view, as something to be asked; it has no keys, no times and no rows of its own."""
    return Layout(
        name=view.name,
        keys=(),
        features=tuple(Field(name, dtype) for name, dtype in output_types(view, arguments).items()),
        timestamp=None,
        created_timestamp=None,
        time_unit="us",
        ttl_ns=None,
        retention_ns=None,
        available_after_ns=None,
        is_strict=False,
        last_valid=False,
        is_online=True,
    )


def output_types(view: OnDemandView, arguments: Sequence[Argument]) -> dict[str, DType]:
    """What comes out; DefinitionError, UnknownNameError: an expression does not fit the columns there are."""
    if view.code is not None:
        return dict(view.returns)
    types = {argument.name: argument.dtype for argument in arguments}
    found = {}
    for name, expression in view.features.items():
        try:
            found[name] = expression.dtype(types)
        except UnknownNameError as cause:
            raise UnknownNameError(f"on-demand view {view.name}: {name}: {cause.message}", hint=cause.hint) from cause
        except DefinitionError as cause:
            raise DefinitionError(f"on-demand view {view.name}: {name}: {cause.message}", hint=cause.hint) from cause
    return found
