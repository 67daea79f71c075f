"""Feature services: the features that one model asks for, under one name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

from mlstore.errors import DefinitionError, UsageError
from mlstore.schema.declarations import check_name, describe, set_field, show
from mlstore.schema.reference import Reference, parse_reference
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView


@dataclass(frozen=True, slots=True, repr=False)
class FeatureService:
    """The set of features one model is trained on and served with. Another set is another version of it.

    Parameters
    ----------
    name
        Letters, digits, `_` and `-`; it does not start with a digit.
    features
        What to ask for, in order: "view", "view:feature", "view@2:feature", a `FeatureView` or `WindowView` for all of its features,
        or what `ml.ref` gives. Kept as text.
    description, owner, tags
        For people, and for the search of the catalogue.

    Raises
    ------
    DefinitionError
        A bad name, no feature, the same one twice, or text that names no feature.

    Examples
    --------
    >>> ml.FeatureService("delay_model", features=["weather:temp", "delays"])
    FeatureService('delay_model', features=('weather:temp', 'delays'))
    """

    name: str
    _: KW_ONLY
    features: Sequence[str | FeatureView | WindowView | Reference]
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name, "service")
        place = f"service {self.name}"
        features = [self.features] if isinstance(self.features, str | FeatureView | WindowView | Reference) else self.features
        set_field(self, "features", tuple(_reference(feature, place) for feature in features))
        if not self.features:
            raise DefinitionError(f"{place}: no features", hint="name at least one, such as 'weather:temp'")
        for position, feature in enumerate(self.features):
            if feature in self.features[:position]:
                raise DefinitionError(f"{place}: {feature!r} is named twice", hint="name it once")
        describe(self, place)

    @property
    def references(self) -> tuple[str, ...]:
        """The features as text."""
        return tuple(str(feature) for feature in self.features)

    def __repr__(self) -> str:
        return show(self)


def _reference(feature: str | FeatureView | WindowView | Reference, place: str) -> str:
    if isinstance(feature, FeatureView | WindowView):
        return feature.name
    if isinstance(feature, Reference):
        return str(feature)
    try:
        return str(parse_reference(feature))
    except UsageError as cause:
        raise DefinitionError(f"{place}: {cause.message}", hint=cause.hint) from cause
