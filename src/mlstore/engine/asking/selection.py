"""Selections: what a list of feature references means, and under which names the features come out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mlstore.engine.catalog import Catalog, Relation, suggest
from mlstore.errors import NameClashError, UnknownNameError, UsageError
from mlstore.schema.ondemand import OnDemandView, View
from mlstore.schema.reference import Reference, parse_reference
from mlstore.schema.service import FeatureService
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView

Features = str | View | FeatureService | Reference | Sequence[str | View | FeatureService | Reference]


@dataclass(frozen=True, slots=True)
class Selected:
    """Features of one view looked up in one way: their numbers, and the names they come out under.

    key_columns: the columns that hold the view's keys, in their order. ttl_ns: how old a value may be.
    """

    relation: Relation
    numbers: tuple[int, ...]
    outputs: tuple[str, ...]
    way: Reference

    @property
    def key_columns(self) -> tuple[str, ...]:
        renamed = dict(self.way.keys)
        return tuple(renamed.get(key.name, key.name) for key in self.relation.layout.keys)

    @property
    def ttl_ns(self) -> int | None:
        return self.relation.layout.ttl_ns if self.way.ttl_ns is None else self.way.ttl_ns

    @property
    def stored(self) -> Relation:
        """Whose rows answer: its own, or those of a window view's source."""
        return self.relation if self.relation.window is None else self.relation.window.source

    @property
    def references(self) -> list[str]:
        """The features as `view@version:feature`: enough to find the same ones again."""
        entry, features = self.relation.entry, self.relation.layout.features
        way = replace(self.way, view=entry.name, version=entry.version)
        return [str(replace(way, feature=features[number].name)) for number in self.numbers]


def select(
    catalog: Catalog, features: Features, *, taken: Iterable[str], full_names: bool, status: bool = False, with_computed: bool = False
) -> list[Selected]:
    """The features asked for, view by view in the order of first mention; `taken` are names the output has already.

    On-demand views are refused, unless with_computed: they are nowhere to be looked up, see `deriving`.
    """
    names = tuple(taken)
    references = (features,) if isinstance(features, str) else tuple(features) if isinstance(features, list | tuple) else ()
    if not references or not all(isinstance(reference, str | Reference) for reference in references):
        return _select(catalog, features, names, full_names, status, with_computed)
    question = ("select", references, names, full_names, status, with_computed)
    return catalog.remember(question, lambda: _select(catalog, features, names, full_names, status, with_computed))


def _select(
    catalog: Catalog, features: Features, taken: tuple[str, ...], full_names: bool, status: bool, with_computed: bool
) -> list[Selected]:
    wanted: dict[tuple[str, Reference], tuple[Relation, dict[int, None]]] = {}
    for reference in _references(catalog, features):
        relation = catalog.relation(reference.view, reference.version)
        if not relation.layout.is_online:
            raise UnknownNameError(f"{relation.label!r} is a table, not a feature view", hint="name a view; read a table with store.read()")
        if relation.computed is not None and not with_computed:
            relation.require_rows("look up")
        if relation.computed is None:
            _check_keys(relation, reference)
        way = replace(reference, view=relation.entry.name, version=None, feature=None)
        numbers = wanted.setdefault((relation.label, way), (relation, {}))[1]
        chosen = range(len(relation.layout.features)) if reference.feature is None else [relation.number(reference.feature)]
        twice = [number for number in chosen if number in numbers]
        if twice:
            name = f"{relation.label}:{relation.layout.features[twice[0]].name}"
            raise NameClashError(f"feature {name!r} is asked for twice", hint="name it once")
        numbers.update(dict.fromkeys(chosen))
    if not wanted:
        views = {entry.name for entry in catalog.current() if isinstance(entry.definition, View)}
        raise UsageError("the list of features is empty", hint=f'name at least one, as "view" or "view:feature": {suggest("", views)}')
    plain = [Selected(relation, tuple(numbers), (), way) for (_, way), (relation, numbers) in wanted.items()]
    return _named(plain, taken, full_names, status)


def _check_keys(relation: Relation, reference: Reference) -> None:
    keys = [key.name for key in relation.layout.keys]
    for name, _ in reference.keys:
        if name not in keys:
            raise UsageError(f"{str(reference)!r}: {relation.label} has no key {name!r}", hint=suggest(name, keys))
    if relation.window is not None and reference.ttl_ns is not None:
        raise UsageError(
            f"{str(reference)!r}: {relation.label} is a window view, which has no ttl", hint="its windows say how old an event may be"
        )


def status_names(selected: Selected) -> list[str]:
    """The columns that tell how a view's answer came about: status, matched event time, and until when it stays the answer."""
    return [f"{selected.way.prefix}{selected.relation.label}__{part}" for part in ("status", "event_timestamp", "valid_to")]


def _references(catalog: Catalog, features: Features) -> Iterable[Reference]:
    if isinstance(features, str | FeatureView | WindowView | OnDemandView | FeatureService | Reference):
        features = [features]
    for feature in features:
        if isinstance(feature, FeatureView | WindowView | OnDemandView):
            yield Reference(feature.name)
        elif isinstance(feature, Reference):
            yield feature
        elif isinstance(feature, FeatureService):
            yield from map(parse_reference, feature.references)
        elif isinstance(feature, str):
            service = catalog.service(feature)
            yield from [parse_reference(feature)] if service is None else map(parse_reference, service.references)
        else:
            raise UsageError(f"{feature!r:.60} is no feature", hint='give "view", "view:feature", a FeatureView or a FeatureService')


def _named(wanted: list[Selected], taken: tuple[str, ...], full_names: bool, status: bool) -> list[Selected]:
    bare = [[selected.way.prefix + selected.relation.layout.features[number].name for number in selected.numbers] for selected in wanted]
    uses = Counter(taken) + Counter(name for names in bare for name in names)
    selection = []
    for selected, names in zip(wanted, bare, strict=True):
        prefix, label = selected.way.prefix, selected.relation.label
        full = [f"{prefix}{label}__{name.removeprefix(prefix)}" for name in names]
        outputs = [long if full_names or uses[short] > 1 else short for long, short in zip(full, names, strict=True)]
        selection.append(replace(selected, outputs=tuple(outputs)))
    told = [name for selected in selection for name in status_names(selected)] if status else []
    outputs = [name for selected in selection for name in selected.outputs]
    for output, count in (Counter(outputs) + Counter(told) + Counter(set(taken))).items():
        if count > 1:
            raise NameClashError(
                f"two output columns would be called {output!r}", hint="rename the column that was given, or ask with ml.ref(..., prefix=)"
            )
    return selection
