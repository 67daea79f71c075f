"""On-demand views: features computed when they are asked for, from other features and from what only the request knows.

Plain expressions are stored as data. A Python function is stored as its text and hash, and found in the running program.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from mlstore.errors import DefinitionError, UsageError
from mlstore.schema.declarations import FieldEquality, check_choice, check_name, checked_columns, describe, set_field, show
from mlstore.schema.dtypes import DType
from mlstore.schema.expression import Expression
from mlstore.schema.frozen import FrozenMap
from mlstore.schema.functions import FunctionCode, find_function, load_function
from mlstore.schema.reference import Reference, parse_reference
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView

Over = Literal["arrow", "numpy"]
Function = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class OnDemandView(FieldEquality):
    """Features computed when they are asked for, by expressions or by one function: the same for a request, a batch and a training set.

    Parameters
    ----------
    name
        Letters, digits, `_` and `-`; it does not start with a digit.
    inputs
        The features it is computed from: "view", "view:feature", a view for all of its features, or what `ml.ref` gives (but no offset).
        Looked up as if asked for; not shown unless asked for. Each is a column called like the feature; `view__feature` where two would
        be called alike. `apply` settles which version of each view is meant: the newest, unless named.
    request
        Columns that the request brings, and their types: among the keys online, among the labels in training. May name a key column.
    features
        The outputs as expressions over these columns: `{"share": ml.col("amount") / ml.col("limit")}`. Stored as data.
    function
        Instead of `features`: a function that takes a dict of columns and returns a dict of columns (or, for one output, the column). See
        `ml.on_demand`.
    returns
        The outputs of the function, and their types.
    over
        What the function works on: "arrow" (`pyarrow.Array`), or "numpy" arrays: rows with a null in any column are then left out, and
        their outputs are null.
    description, owner, tags
        For people, and for the search of the catalogue.

    Raises
    ------
    DefinitionError
        A bad name or type, no output, or a function that cannot be told from another.

    Examples
    --------
    >>> share = ml.col("amount") / ml.col("limit")
    >>> ml.OnDemandView("use", inputs=["account:limit"], request={"amount": ml.float64}, features={"share": share})
    OnDemandView('use', inputs=('account:limit',), request={'amount': float64}, features={'share': (amount / limit)})
    """

    name: str
    _: KW_ONLY
    inputs: Sequence[str | View | Reference] = ()
    request: Mapping[str, DType] = field(default_factory=dict)
    features: Mapping[str, Expression] = field(default_factory=dict)
    function: Function | FunctionCode | None = None
    returns: Mapping[str, DType] = field(default_factory=dict)
    over: Over = "arrow"
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name, "on-demand view")
        place = f"on-demand view {self.name}"
        inputs = [self.inputs] if isinstance(self.inputs, str | FeatureView | WindowView | OnDemandView | Reference) else self.inputs
        set_field(self, "inputs", tuple(_reference(feature, place) for feature in inputs))
        if len(set(self.references)) < len(self.references):
            raise DefinitionError(f"{place}: an input is named twice: {', '.join(self.references)}", hint="name each once")
        set_field(self, "request", self._columns("request", "request column", place) if self.request else FrozenMap({}))
        if not self.inputs and not self.request:
            raise DefinitionError(f"{place}: neither inputs nor request", hint="say what it is computed from")
        check_choice(self.over, ("arrow", "numpy"), f"{place}: over")
        if self.function is None:
            self._check_expressions(place)
        else:
            self._check_function(place)
        describe(self, place)

    def _check_expressions(self, place: str) -> None:
        if self.returns or self.over != "arrow":
            raise DefinitionError(f"{place}: returns and over belong to a function", hint="expressions have types of their own")
        if not isinstance(self.features, Mapping) or not self.features:
            raise DefinitionError(f"{place}: no features", hint='give expressions, as {"share": ml.col("a") / ml.col("b")}, or a function')
        for name, expression in self.features.items():
            check_name(name, f"{place}: feature")
            if not isinstance(expression, Expression):
                raise DefinitionError(f"{place}: feature {name!r} is {expression!r:.60}", hint="give an expression: ml.col(...)")
        set_field(self, "features", FrozenMap(self.features))
        set_field(self, "returns", FrozenMap({}))

    def _check_function(self, place: str) -> None:
        if self.features:
            raise DefinitionError(f"{place}: both features and a function", hint="give one of them")
        set_field(self, "features", FrozenMap({}))
        set_field(self, "returns", self._columns("returns", "output", place))
        if not isinstance(self.function, FunctionCode):
            assert self.function is not None
            set_field(self, "function", load_function(self.function, place))

    def _columns(self, argument: str, of: str, place: str) -> FrozenMap[DType]:
        return checked_columns(getattr(self, argument), place, argument=argument, of=of)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the features it computes, in order."""
        return tuple(self.features or self.returns)

    @property
    def references(self) -> tuple[str, ...]:
        """The inputs as text."""
        return tuple(str(feature) for feature in self.inputs)

    @property
    def code(self) -> FunctionCode | None:
        """The function as the catalogue keeps it: name, source, hash."""
        return self.function if isinstance(self.function, FunctionCode) else None

    def __call__(self, columns: Mapping[str, Any]) -> Any:
        """What the function gives over these columns, as it is; of expressions: a dict of Arrow columns. For trying out and for tests."""
        if self.code is None:
            return {name: expression.evaluate(columns) for name, expression in self.features.items()}
        return find_function(self.code, f"on-demand view {self.name}")(dict(columns))

    def __repr__(self) -> str:
        return show(self)


View = FeatureView | WindowView | OnDemandView  # whose features can be asked for


def on_demand(
    *,
    inputs: Sequence[str | View | Reference] = (),
    request: Mapping[str, DType] | None = None,
    returns: Mapping[str, DType],
    over: Over = "arrow",
    name: str | None = None,
    description: str | None = None,
    owner: str = "",
    tags: Mapping[str, str] | None = None,
) -> Callable[[Function], OnDemandView]:
    """A decorator that makes an `OnDemandView` of a function, called like it and described by its docstring unless said otherwise.

    The function takes a dict of columns, by name, and returns a dict of columns of the same length. It works row by row: what it gives for
    a row must not depend on the rows beside it, for it is called with one row online and with a million in training. The catalogue keeps
    its name, source and hash, never the function: a program that asks for the features imports the module that defines it.

    The hash covers the source (without comments, layout, decorators and docstring), the constants it reads, and the functions of its
    module that it calls. Another hash is another version of the view.

    Examples
    --------
    >>> @ml.on_demand(inputs=["account:limit"], request={"amount": ml.float64}, returns={"share": ml.float64}, over="numpy")
    ... def use(columns):
    ...     return {"share": columns["amount"] / columns["limit"]}
    """

    def decorate(function: Function) -> OnDemandView:
        told = inspect.getdoc(function) or ""
        return OnDemandView(
            getattr(function, "__name__", "") if name is None else name,
            inputs=inputs,
            request=request or {},
            function=function,
            returns=returns,
            over=over,
            description=" ".join(told.split("\n\n")[0].split()) if description is None else description,
            owner=owner,
            tags=tags or {},
        )

    return decorate


def _reference(feature: str | View | Reference, place: str) -> str:
    if isinstance(feature, FeatureView | WindowView | OnDemandView):
        return feature.name
    try:
        named = feature if isinstance(feature, Reference) else parse_reference(feature)
    except UsageError as cause:
        raise DefinitionError(f"{place}: {cause.message}", hint=cause.hint) from cause
    if named.offset_ns:
        raise DefinitionError(f"{place}: {str(named)!r}: an input with an offset", hint="online features are the newest: leave offset out")
    return str(named)
