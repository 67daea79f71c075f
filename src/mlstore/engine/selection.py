"""Selections: what a list of feature references means, and under which names the features come out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlstore.engine.catalog import Catalog, Relation, suggest
from mlstore.errors import NameClashError, UnknownNameError, UsageError
from mlstore.schema.reference import parse_reference
from mlstore.schema.service import FeatureService
from mlstore.schema.view import FeatureView

Features = str | FeatureView | FeatureService | Sequence[str | FeatureView | FeatureService]


@dataclass(frozen=True, slots=True)
class Selected:
    """Features of one view: their numbers and the names they come out under."""

    relation: Relation
    numbers: tuple[int, ...]
    outputs: tuple[str, ...]

    @property
    def references(self) -> list[str]:
        """The features as `view@version:feature`: enough to find the same ones again."""
        name = f"{self.relation.entry.name}@{self.relation.entry.version}"
        return [f"{name}:{self.relation.layout.features[number].name}" for number in self.numbers]


def select(catalog: Catalog, features: Features, *, taken: Iterable[str], full_names: bool, status: bool = False) -> list[Selected]:
    """The features asked for, view by view in the order of first mention; `taken` are names the output has already."""
    names = tuple(taken)
    references = (features,) if isinstance(features, str) else tuple(features) if isinstance(features, list | tuple) else ()
    if not references or not all(isinstance(reference, str) for reference in references):
        return _select(catalog, features, names, full_names, status)
    question = ("select", references, names, full_names, status)
    return catalog.remember(question, lambda: _select(catalog, features, names, full_names, status))


def _select(catalog: Catalog, features: Features, taken: tuple[str, ...], full_names: bool, status: bool) -> list[Selected]:
    wanted: dict[str, tuple[Relation, dict[int, None]]] = {}
    for text in _references(catalog, features):
        reference = parse_reference(text)
        relation = catalog.relation(reference.view, reference.version)
        if not relation.layout.is_online:
            raise UnknownNameError(f"{relation.label!r} is a table, not a feature view", hint="name a view; read a table with store.read()")
        numbers = wanted.setdefault(relation.label, (relation, {}))[1]
        chosen = range(len(relation.layout.features)) if reference.feature is None else [relation.number(reference.feature)]
        twice = [number for number in chosen if number in numbers]
        if twice:
            name = f"{relation.label}:{relation.layout.features[twice[0]].name}"
            raise NameClashError(f"feature {name!r} is asked for twice", hint="name it once")
        numbers.update(dict.fromkeys(chosen))
    if not wanted:
        views = [relation.label for relation in catalog.relations() if relation.layout.is_online]
        raise UsageError("the list of features is empty", hint=f'name at least one, as "view" or "view:feature": {suggest("", views)}')
    return _named(list(wanted.values()), taken, full_names, status)


def status_names(selected: Selected) -> list[str]:
    """The columns that tell how a view's answer came about: status, matched event time, and until when it stays the answer."""
    return [f"{selected.relation.label}__{part}" for part in ("status", "event_timestamp", "valid_to")]


def _references(catalog: Catalog, features: Features) -> Iterable[str]:
    if isinstance(features, str | FeatureView | FeatureService):
        features = [features]
    for feature in features:
        if isinstance(feature, FeatureView):
            yield feature.name
        elif isinstance(feature, FeatureService):
            yield from map(str, feature.features)
        elif isinstance(feature, str):
            service = catalog.service(feature)
            yield from [feature] if service is None else map(str, service.features)
        else:
            raise UsageError(f"{feature!r:.60} is no feature", hint='give "view", "view:feature", a FeatureView or a FeatureService')


def _named(wanted: list[tuple[Relation, dict[int, None]]], taken: tuple[str, ...], full_names: bool, status: bool) -> list[Selected]:
    names = [(relation, number, relation.layout.features[number].name) for relation, numbers in wanted for number in numbers]
    uses = Counter(taken) + Counter(name for _, _, name in names)
    outputs = [f"{relation.label}__{name}" if full_names or uses[name] > 1 else name for relation, _, name in names]
    rest = iter(outputs)
    selection = [Selected(relation, tuple(numbers), tuple(next(rest) for _ in numbers)) for relation, numbers in wanted]
    told = [name for selected in selection for name in status_names(selected)] if status else []
    for output, count in (Counter(outputs) + Counter(told) + Counter(set(taken))).items():
        if count > 1:
            raise NameClashError(f"two output columns would be called {output!r}", hint="rename the column that was given")
    return selection
