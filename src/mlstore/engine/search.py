"""Search: which definitions of a catalogue fit what is asked, and which on-demand views this process can compute."""

from collections.abc import Collection

from mlstore.engine.catalog import Catalog, feature_names
from mlstore.engine.entries import CatalogEntry
from mlstore.schema.entity import Entity
from mlstore.schema.functions import find_function, is_loaded
from mlstore.schema.ondemand import OnDemandView
from mlstore.schema.record import Definition
from mlstore.schema.service import FeatureService


def search_catalog(catalog: Catalog, search: str | None, *, tag: str | None, owner: str | None, kind: str | None) -> list[CatalogEntry]:
    """The entries that fit all that is asked, by kind and name."""
    found = [
        entry
        for entry in catalog.current()
        if (kind is None or entry.kind == kind)
        and (owner is None or entry.definition.owner == owner)
        and (tag is None or _has_tag(entry.definition, tag))
        and (search is None or search.lower() in _searchable(entry))
    ]
    return sorted(found, key=lambda entry: (entry.kind, entry.name, entry.version))


def _has_tag(definition: Definition, tag: str) -> bool:
    name, equals, value = tag.partition("=")
    return name in definition.tags and (not equals or definition.tags[name] == value)


def _searchable(entry: CatalogEntry) -> str:
    definition = entry.definition
    columns = definition.keys if isinstance(definition, Entity) else feature_names(definition)
    references = definition.references if isinstance(definition, FeatureService | OnDemandView) else ()
    words = (entry.label, definition.description, definition.owner, *columns, *references, *definition.tags, *definition.tags.values())
    return " ".join(words).lower()


def computable_views(catalog: Catalog, modules: Collection[str] = ()) -> tuple[str, ...]:
    """The on-demand views that this process can compute; FunctionMissingError: the newest of one of these modules is not among them."""
    found = []
    for entry in catalog.current():
        code = entry.definition.code if isinstance(entry.definition, OnDemandView) else None
        if code is not None and code.module in modules and entry is catalog.find("relation", entry.name)[-1]:
            find_function(code, f"on-demand view {entry.label}")
        if entry.kind == "on_demand" and (code is None or is_loaded(code)):
            found.append(entry.label)
    return tuple(sorted(found))
