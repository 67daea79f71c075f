"""Lineage: what each definition is made from, as one catalogue has it: keys, events, features. Worked out when asked for, never stored."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mlstore.engine.catalog import Catalog, suggest
from mlstore.engine.entries import CatalogEntry
from mlstore.errors import UnknownNameError
from mlstore.schema.ondemand import OnDemandView
from mlstore.schema.reference import parse_reference
from mlstore.schema.service import FeatureService
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView


class Node(NamedTuple):
    """A definition: its kind, and its name as references write it."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Edge:
    """`target` is made from `source`: by its "keys", its "events" or its "features". names: which of its columns; () for all."""

    source: Node
    target: Node
    by: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.source} -> {self.target} ({self.by}{': ' if self.names else ''}{', '.join(self.names)})"


@dataclass(frozen=True, slots=True)
class Lineage:
    """How definitions hang together: an edge for each definition that another is made from. Printing it shows one line for each."""

    edges: tuple[Edge, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every definition that has an edge, in order of first mention."""
        return tuple(dict.fromkeys(node for edge in self.edges for node in (edge.source, edge.target)))

    def upstream(self, name: str) -> tuple[Node, ...]:
        """All that a definition is made from, directly or not. UnknownNameError: nothing here has the name."""
        return self._reached(name, lambda edge: (edge.target, edge.source))

    def downstream(self, name: str) -> tuple[Node, ...]:
        """All that is made from a definition, directly or not. UnknownNameError: nothing here has the name."""
        return self._reached(name, lambda edge: (edge.source, edge.target))

    def around(self, nodes: Iterable[Node]) -> "Lineage":
        """The edges that lead to these definitions, directly or not, and those that lead away from them."""
        wanted = tuple(nodes)
        above = {*wanted, *_reach(self.edges, wanted, lambda edge: (edge.target, edge.source))}
        below = {*wanted, *_reach(self.edges, wanted, lambda edge: (edge.source, edge.target))}
        return Lineage(tuple(edge for edge in self.edges if edge.target in above or edge.source in below))

    def _reached(self, name: str, ends: Callable[[Edge], tuple[Node, Node]]) -> tuple[Node, ...]:
        start = [node for node in self.nodes if name in (node.name, str(node))]
        if not start:
            raise UnknownNameError(f"nothing here is called {name!r}", hint=suggest(name, [node.name for node in self.nodes]))
        return tuple(_reach(self.edges, start, ends))

    def __str__(self) -> str:
        return "\n".join(map(str, self.edges)) or "nothing hangs together"


class CatalogEntries(list[CatalogEntry]):
    """Definitions found in a catalogue: a list, which knows how they hang together."""

    def __init__(self, entries: Iterable[CatalogEntry], catalog: Catalog) -> None:
        super().__init__(entries)
        self._catalog = catalog

    @property
    def lineage(self) -> Lineage:
        """What these definitions are made from, and what is made from them, directly or not."""
        return trace(self._catalog).around(map(_node, self))


def trace(catalog: Catalog) -> Lineage:
    """The lineage of everything a catalogue knows."""
    return Lineage(tuple(edge for entry in catalog.current() for edge in _edges(catalog, entry)))


def _edges(catalog: Catalog, entry: CatalogEntry) -> Iterator[Edge]:
    """What one definition is made from."""
    definition, target = entry.definition, _node(entry)
    if isinstance(definition, FeatureView | WindowView) and definition.entity_name is not None:
        entity = catalog.find("entity", definition.entity_name)[-1]
        yield Edge(_node(entity), target, "keys", tuple(catalog.entity(definition.entity_name).keys))
    if isinstance(definition, WindowView):
        yield Edge(_node(catalog.relation(definition.source_name).entry), target, "events", definition.columns)
    if isinstance(definition, FeatureService | OnDemandView):
        yield from _feature_edges(catalog, definition.references, target)


def _feature_edges(catalog: Catalog, references: Iterable[str], target: Node) -> Iterator[Edge]:
    """An edge for each view that features are taken from; naming all of a view and some of it is all."""
    taken: dict[Node, dict[str | None, None]] = {}
    for reference in map(parse_reference, references):
        view = _node(catalog.relation(reference.view, reference.version).entry)
        taken.setdefault(view, {})[reference.feature] = None
    for view, features in taken.items():
        yield Edge(view, target, "features", () if None in features else tuple(name for name in features if name is not None))


def _node(entry: CatalogEntry) -> Node:
    return Node(entry.kind, entry.label)


def _reach(edges: Iterable[Edge], start: Iterable[Node], ends: Callable[[Edge], tuple[Node, Node]]) -> list[Node]:
    """What can be reached from some definitions, step by step, nearest first."""
    steps: dict[Node, list[Node]] = {}
    for here, there in map(ends, edges):
        steps.setdefault(here, []).append(there)
    reached: dict[Node, None] = {}
    waiting = list(start)
    for here in waiting:
        for there in steps.get(here, ()):
            if there not in reached:
                reached[there] = None
                waiting.append(there)
    return list(reached)
