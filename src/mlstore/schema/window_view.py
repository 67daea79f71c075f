"""Window views: aggregations over the events of a key, as of any moment. They store no values: each answer is worked out from events."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Literal

from mlstore.errors import DefinitionError
from mlstore.schema.aggregation import Aggregation, Part, check_condition
from mlstore.schema.declarations import FieldEquality, check_choice, check_name, checked_duration, describe, duration_ns, set_field, show
from mlstore.schema.durations import DAY_NS, SECOND_NS, format_duration, parse_duration
from mlstore.schema.entity import Entity
from mlstore.schema.expression import Expression
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.schema.window import Window

_WIDTHS = tuple(seconds * SECOND_NS for seconds in (1, 10, 60, 300, 3_600, 86_400))
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_LIFETIME_NS = 30 * DAY_NS


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class WindowView(FieldEquality):
    """Aggregations over the events of a key as of any moment: now, when features are served, or a label's time, in a training set.

    Parameters
    ----------
    name
        Letters, digits, `_` and `-`; it does not start with a digit.
    entity
        What the features are about: an `Entity`, its name, or None for all events together.
    source
        Where the events are: a `Table` with a timestamp or a `FeatureView`, or its name. The entity's keys are the first of its keys.
        Registered, the view keeps to the version of the source that was the newest then (`orders@1`).
    aggregations
        What to work out: `ml.agg(...)`, one or several.
    where
        Only events of which this is true, in all aggregations: `ml.col("kind") == "buy"`.
    boundary
        "inclusive": an event counts at its own time, t - w < e <= t; "strict": only after it, t - w <= e < t.
    offset
        Taken off the moment asked about, as text ("1h") or timedelta: the windows as of that long before.
    tiles
        The widths of the tiles that windows are put together from, such as ["5m", "1h"], each a divisor of the next; () for none. By
        default they follow from the windows. They fix the order in which floats are added.
    description, owner, tags
        For people, and for the search of the catalogue.

    Raises
    ------
    DefinitionError
        A bad name, no aggregation, two outputs of one name, or tiles that do not divide each other.

    Examples
    --------
    >>> amounts = ml.agg("amount", ["count", "sum"], windows=["1h", "7d"])
    >>> spend = ml.WindowView("spend", entity="user", source="orders", aggregations=[amounts])
    >>> spend.output_names
    ('amount_count_1h', 'amount_count_7d', 'amount_sum_1h', 'amount_sum_7d')
    >>> spend.tiles
    ('5m', '1h', '1d')
    """

    name: str
    _: KW_ONLY
    entity: Entity | str | None
    source: Table | FeatureView | str
    aggregations: Sequence[Aggregation]
    where: Expression | None = None
    boundary: Literal["inclusive", "strict"] = "inclusive"
    offset: str | timedelta | None = None
    tiles: Sequence[str | timedelta] | None = None
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name, "window view")
        place = f"window view {self.name}"
        self._check_entity(place)
        self._check_source(place)
        self._check_aggregations(place)
        check_condition(self.where, place)
        check_choice(self.boundary, ("inclusive", "strict"), f"{place}: boundary")
        offset = checked_duration(self.offset, f"{place}: offset", allow_zero=True)
        set_field(self, "offset", None if duration_ns(offset) == 0 else offset)
        # The widths are kept, not the rule they came from: another rule must not change the sums of a view that is registered.
        widths = default_levels(self.windows()) if self.tiles is None else _checked_levels(self.tiles, place)
        set_field(self, "tiles", tuple(format_duration(width) for width in widths))
        describe(self, place)

    def _check_entity(self, place: str) -> None:
        if isinstance(self.entity, str):
            check_name(self.entity, f"{place}: entity")
        elif self.entity is not None and not isinstance(self.entity, Entity):
            raise DefinitionError(
                f"{place}: entity is {self.entity!r:.60}", hint="give an Entity, its name, or None for all events together"
            )

    def _check_source(self, place: str) -> None:
        hint = "give a Table of events, a FeatureView, or its name"
        if isinstance(self.source, str):
            name, at, version = self.source.partition("@")
            check_name(name, f"{place}: source")
            if at and not _VERSION.fullmatch(version):
                raise DefinitionError(f"{place}: source is {self.source!r:.60}", hint=hint)
        elif not isinstance(self.source, Table | FeatureView):
            raise DefinitionError(f"{place}: source is {self.source!r:.60}", hint=hint)

    def _check_aggregations(self, place: str) -> None:
        given = (self.aggregations,) if isinstance(self.aggregations, Aggregation) else tuple(self.aggregations)
        for aggregation in given:
            if not isinstance(aggregation, Aggregation):
                raise DefinitionError(
                    f"{place}: {aggregation!r:.60} is no aggregation", hint='make it with ml.agg("amount", "sum", windows="7d")'
                )
        if not given:
            raise DefinitionError(f"{place}: no aggregations", hint='give at least one: [ml.agg("amount", "sum", windows="7d")]')
        set_field(self, "aggregations", given)
        names = set()
        for _, part in self.parts():
            if part.name in names:
                raise DefinitionError(
                    f"{place}: two outputs are called {part.name!r}", hint="name one of them otherwise, with name= in its agg"
                )
            names.add(part.name)

    def parts(self) -> Iterator[tuple[Aggregation, Part]]:
        """Its outputs in order, each with the aggregation it comes from."""
        return ((aggregation, part) for aggregation in self.aggregations for part in aggregation.parts())

    def by_name(self) -> dict[str, Aggregation]:
        """What is asked for each output, by its name."""
        return {part.name: aggregation.only(part) for aggregation, part in self.parts()}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the source that are read, in order of first mention."""
        named = [name for aggregation in self.aggregations for name in (aggregation.column, aggregation.by) if name is not None]
        conditions = [aggregation.where for aggregation in self.aggregations] + [self.where]
        named += [name for where in conditions if where is not None for name in where.columns]
        return tuple(dict.fromkeys(named))

    def windows(self) -> tuple[Window, ...]:
        """Its windows, each once."""
        return tuple(dict.fromkeys(window for aggregation in self.aggregations for window in aggregation.windows))

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of its features, in order."""
        return tuple(part.name for _, part in self.parts())

    @property
    def entity_name(self) -> str | None:
        """The name of the entity; None for all events together."""
        return self.entity.name if isinstance(self.entity, Entity) else self.entity

    @property
    def source_name(self) -> str:
        """The source as references write it: "orders", or "orders@1" for one version of it."""
        return self.source if isinstance(self.source, str) else self.source.name

    @property
    def offset_ns(self) -> int:
        """How long before the moment asked about the windows stand, in nanoseconds."""
        return duration_ns(self.offset) or 0

    @property
    def is_strict(self) -> bool:
        """Whether an event counts only after its own time."""
        return self.boundary == "strict"

    @property
    def levels_ns(self) -> tuple[int, ...]:
        """The widths of the tiles in nanoseconds, finest first; () for none."""
        return tuple(parse_duration(width) for width in self.tiles or ())

    def __repr__(self) -> str:
        return show(self)


def default_levels(windows: Sequence[Window]) -> tuple[int, ...]:
    """The widths of tiles that suit windows: a tenth of the shortest, and steps of at least ten up to a quarter of the longest.

    Windows of rows (session, last_rows) add their events one by one, and have no say.
    """
    lengths = [
        _LIFETIME_NS if window.kind == "lifetime" else window.length_ns for window in windows if window.kind not in ("session", "rows")
    ]
    if not lengths:
        return ()
    finest = max((width for width in _WIDTHS if width * 10 <= min(lengths)), default=_WIDTHS[0])
    levels: list[int] = []
    for width in _WIDTHS:
        if finest <= width and width * 4 <= max(lengths) and (not levels or width >= 10 * levels[-1]):
            levels.append(width)
    return tuple(levels)


def _checked_levels(tiles: object, place: str) -> tuple[int, ...]:
    hint = 'give widths, each a divisor of the next: tiles=["5m", "1h", "1d"]; () for none'
    if not isinstance(tiles, Sequence) or isinstance(tiles, str):
        raise DefinitionError(f"{place}: tiles={tiles!r:.60}", hint=hint)
    levels = tuple(parse_duration(width, what=f"{place}: tiles") for width in tiles)
    for finer, coarser in pairwise(levels):
        if finer >= coarser or coarser % finer:
            message = f"{place}: a tile of {format_duration(coarser)} is not made of tiles of {format_duration(finer)}"
            raise DefinitionError(message, hint=hint)
    return levels
