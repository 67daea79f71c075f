"""Registering definitions: a plan that says what would change, and the step that makes it so, all or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlstore.engine.catalog import (
    Catalog,
    CatalogEntry,
    feature_names,
    kind_of,
    next_revision,
    put_entry,
    suggest,
    with_entry,
)
from mlstore.engine.session import WriteContext
from mlstore.engine.versions import take_numbers
from mlstore.errors import AlreadyExistsError, DefinitionError, UnknownNameError
from mlstore.format.manifest import TableChange
from mlstore.schema.entity import Entity
from mlstore.schema.evolution import evolve
from mlstore.schema.ondemand import OnDemandView
from mlstore.schema.outputs import check_kept
from mlstore.schema.record import Definition
from mlstore.schema.reference import parse_reference
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView

ORDER = ("entity", "table", "view", "window", "on_demand", "service")  # each refers to those before it


@dataclass(frozen=True, slots=True)
class Change:
    """What would happen to one definition: action is create, evolve, new_version or unchanged."""

    action: str
    kind: str
    name: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        sign = {"create": "+", "evolve": "~", "new_version": "!", "unchanged": "="}[self.action]
        details = f": {'; '.join(self.details)}" if self.details else ""
        return f"{sign} {self.action:11} {self.kind:7} {self.name}{details}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes `apply` would make; true if there is any. Printing it shows one line per definition."""

    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return any(change.action != "unchanged" for change in self.changes)

    def __str__(self) -> str:
        return "\n".join(str(change) for change in self.changes) or "nothing to do"


@dataclass(frozen=True, slots=True)
class Step:
    """A change and the entry that makes it true (None: nothing to write). Its table number and clock are given at apply."""

    change: Change
    entry: CatalogEntry | None


def plan_registration(catalog: Catalog, definitions: Sequence[Definition]) -> list[Step]:
    """Decide, entities first, what each definition asks for; raises on anything that cannot be applied."""
    if not definitions:
        raise DefinitionError("apply needs at least one definition", hint="store.apply(entity, view, ...)")
    by_name: dict[tuple[str, str], Definition] = {}
    for definition in definitions:
        place = ("entity" if kind_of(definition) == "entity" else "relation", definition.name)
        if by_name.setdefault(place, definition) != definition:
            raise AlreadyExistsError(f"{definition.name!r} is defined twice in one apply", hint="give each definition a name of its own")
    steps, planned = [], catalog
    for definition in _in_order(by_name):
        _check_references(catalog, definition, by_name)
        if isinstance(definition, WindowView):
            definition = _with_source(planned, definition)
        if isinstance(definition, OnDemandView):
            definition = _with_inputs(planned, definition)
        step = _plan_one(catalog, definition)
        steps.append(step)
        planned = planned if step.entry is None else with_entry(planned, step.entry)
    check_readers(planned)
    return steps


def apply_registration(context: WriteContext, steps: list[Step], *, author: str, message: str) -> Plan:
    """Write the entries and one commit that tells of them; nothing when nothing changes."""
    plan = Plan(tuple(step.change for step in steps))
    told = [register(context, step.entry, step.change) for step in steps if step.entry is not None]
    if told:
        default = ", ".join(f"{change.op[6:]} {change.table}" for change in told)
        context.commit(*told, author=author, message=message or default)
    return plan


def register(context: WriteContext, entry: CatalogEntry, change: Change) -> TableChange:
    """Write one entry on the line of the context; the change to be committed."""
    writer, seq = context.writer, take_numbers(context.writer, "seq")
    table = take_numbers(writer, "table") if entry.table < 0 else entry.table
    revision = next_revision(writer, replace(entry, table=table))
    digest = put_entry(writer, replace(entry, table=table, revision=revision, seq=seq, time_us=context.now_us, line=context.scope.line))
    return TableChange(f"apply {change.action}", f"{entry.kind} {entry.label}", table, 0, seq, seq, digest)


def _plan_one(catalog: Catalog, definition: Definition) -> Step:
    kind = kind_of(definition)
    found = catalog.find("entity" if kind == "entity" else "relation", definition.name)
    if found and found[-1].kind != kind:
        raise AlreadyExistsError(
            f"{definition.name!r} is a {found[-1].kind} already, so no {kind} can have the name", hint="choose another name"
        )
    has_data = isinstance(definition, FeatureView | WindowView | Table)
    if not found:
        entry = CatalogEntry(kind, definition.name, 1, 1, definition, -1 if has_data else 0, 0, 0)
        return Step(Change("create", kind, definition.name), entry)
    newest = found[-1]
    evolution = evolve(newest.definition, definition)
    if evolution.action == "unchanged":
        return Step(Change("unchanged", kind, newest.label), None)
    if evolution.action == "in_place":
        entry = replace(newest, revision=newest.revision + 1, definition=evolution.definition)
        return Step(Change("evolve", kind, newest.label, evolution.changes), entry)
    entry = CatalogEntry(kind, definition.name, newest.version + 1, 1, evolution.definition, -1 if has_data else 0, 0, 0)
    return Step(Change("new_version", kind, entry.label, evolution.changes), entry)


def _with_source(planned: Catalog, view: WindowView) -> WindowView:
    """The view with its source as one version of it, `orders@1`: the newest, unless it names another. What does not fit is refused."""
    known = [
        entry for entry in planned.find("relation", view.source_name.partition("@")[0]) if isinstance(entry.definition, FeatureView | Table)
    ]
    if not known:
        raise UnknownNameError(
            f"window view {view.name!r} reads {view.source_name!r}, which is no table or feature view that is registered",
            hint=f"apply the source together with the view: store.apply({view.source_name}, {view.name})",
        )
    source = planned.relation(view.source_name)
    pinned = replace(view, source=f"{source.entry.name}@{source.entry.version}")
    planned.layout(pinned)
    return pinned


def _in_order(by_name: dict[tuple[str, str], Definition]) -> list[Definition]:
    """Definitions after those they refer to, as far as these are among them."""
    ordered: dict[str, Definition] = {}

    def add(definition: Definition, above: tuple[str, ...]) -> None:
        if isinstance(definition, OnDemandView):
            if definition.name in above:
                circle = " -> ".join((*above[above.index(definition.name) :], definition.name))
                raise DefinitionError(f"on-demand views in a circle: {circle}", hint="one of them must do without the other")
            for reference in map(parse_reference, definition.references):
                other = by_name.get(("relation", reference.view))
                if isinstance(other, OnDemandView) and reference.version is None:
                    add(other, (*above, definition.name))
        ordered.setdefault(f"{kind_of(definition)} {definition.name}", definition)

    for definition in sorted(by_name.values(), key=lambda definition: ORDER.index(kind_of(definition))):
        add(definition, ())
    return list(ordered.values())


def _with_inputs(planned: Catalog, view: OnDemandView) -> OnDemandView:
    """The view with each input as one feature of one version of a view, `weather@1:temp`. What does not fit is refused."""
    pinned: list[str] = []
    for reference in map(parse_reference, view.references):
        try:
            relation = planned.relation(reference.view, reference.version)
        except UnknownNameError as cause:
            raise UnknownNameError(f"on-demand view {view.name!r}: {cause.message}", hint=cause.hint) from cause
        if not relation.layout.is_online:
            raise DefinitionError(f"on-demand view {view.name!r}: {relation.label!r} is a table", hint="inputs are features of views")
        names = [field.name for field in relation.layout.features] if reference.feature is None else [reference.feature]
        way = replace(reference, version=relation.entry.version)
        pinned += [str(replace(way, feature=relation.layout.features[relation.number(name)].name)) for name in names]
    settled = replace(view, inputs=tuple(dict.fromkeys(pinned)))
    # Made up as it would be registered, so that what does not fit says so.
    version = 1 + max((entry.version for entry in planned.find("relation", view.name)), default=0)
    with_entry(planned, CatalogEntry("on_demand", view.name, version, 1, settled, 0, 0, 0)).relation(view.name, version)
    return settled


def check_readers(catalog: Catalog) -> None:
    """Refuse a change that takes from a view what a window view or an on-demand view reads."""
    for entry in catalog.current():
        if isinstance(entry.definition, OnDemandView):
            try:
                catalog.relation(entry.name, entry.version)
            except (DefinitionError, UnknownNameError) as cause:
                message = f"the inputs of {entry.label} cannot change so: {cause.message}"
                raise DefinitionError(message, hint="leave the feature as it is, or add another one") from cause
        if isinstance(entry.definition, WindowView):
            try:
                catalog.layout(entry.definition)
            except DefinitionError as cause:
                message = f"{entry.definition.source_name} cannot change so while {entry.label} reads it: {cause.message}"
                raise DefinitionError(message, hint="leave the column as it is, or add another one") from cause
            check_kept(entry.definition, catalog.relation(entry.definition.source_name).layout)


def _check_references(catalog: Catalog, definition: Definition, others: dict[tuple[str, str], Definition]) -> None:
    if isinstance(definition, FeatureView | WindowView) and definition.entity_name is not None:
        entity = others.get(("entity", definition.entity_name))
        if entity is None and not catalog.find("entity", definition.entity_name):
            raise UnknownNameError(
                f"view {definition.name!r} needs entity {definition.entity_name!r}, which is not registered",
                hint=f"apply the entity together with the view: store.apply({definition.entity_name}, {definition.name})",
            )
        keys = entity.keys if isinstance(entity, Entity) else catalog.entity(definition.entity_name).keys
        columns = {*definition.schema, definition.timestamp, definition.created_timestamp} if isinstance(definition, FeatureView) else set()
        clash = sorted(set(keys) & columns)
        if clash:
            raise DefinitionError(f"view {definition.name!r}: {clash[0]!r} is a key of its entity too", hint="rename the column")
    if isinstance(definition, FeatureService):
        for text in definition.features:
            _check_feature(catalog, definition, str(text), others)


def _check_feature(catalog: Catalog, service: FeatureService, text: str, others: dict[tuple[str, str], Definition]) -> None:
    reference = parse_reference(text)
    view = others.get(("relation", reference.view))
    if reference.version is not None or view is None:
        view = catalog.relation(reference.view, reference.version).entry.definition
    if not isinstance(view, FeatureView | WindowView | OnDemandView):
        raise DefinitionError(f"service {service.name!r}: {reference.view!r} is no feature view", hint="services bundle features of views")
    if reference.feature is not None and reference.feature not in feature_names(view):
        raise UnknownNameError(
            f"service {service.name!r}: view {reference.view!r} has no feature {reference.feature!r}",
            hint=suggest(reference.feature, feature_names(view)),
        )
