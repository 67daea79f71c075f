"""Whatever windows are declared: names are one apiece, tiles are made of each other, and the catalogue gives back what it was given."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st

import mlstore as ml
from mlstore.schema.aggregation import FUNCTIONS, OF_ROWS
from mlstore.schema.durations import parse_duration
from mlstore.schema.evolution import evolve
from mlstore.schema.layout import table_layout
from mlstore.schema.outputs import resolve_outputs
from mlstore.schema.record import from_record, to_record

EVENTS = ml.Table(
    "events",
    schema={"key": ml.int64, "id": ml.int64, "real": ml.float64, "count": ml.int16, "kind": ml.string},
    key=("key", "id"),
    timestamp="at",
)
LENGTHS = st.builds(lambda count, unit: f"{count}{unit}", st.integers(1, 90), st.sampled_from(["s", "m", "h", "d"]))
WINDOWS = st.one_of(
    LENGTHS,
    st.just("lifetime"),
    st.builds(ml.tumbling, LENGTHS),
    st.builds(lambda length, hop: ml.hopping(length, hop=hop), LENGTHS, LENGTHS),
    st.builds(ml.session, LENGTHS),
    st.builds(ml.last_rows, st.integers(1, 1000)),
)
CONDITIONS = st.one_of(st.none(), st.builds(lambda limit: ml.col("real") > limit, st.integers(0, 3)), st.just(ml.col("kind") == "a"))
PARAMETERS = {
    "": st.just({}),
    "n": st.builds(lambda n: {"n": n}, st.integers(1, 9)),
    "k": st.builds(lambda k: {"k": k}, st.integers(1, 9)),
    "q": st.builds(lambda q: {"q": q}, st.lists(st.floats(0, 1).map(lambda q: round(q, 3) + 0.0), min_size=1, max_size=3, unique=True)),
    "bins": st.builds(lambda bins: {"bins": sorted(bins)}, st.lists(st.floats(allow_nan=False), min_size=2, max_size=4, unique=True)),
    "half_life": st.builds(lambda length: {"half_life": length}, LENGTHS),
}


@st.composite
def aggregations(draw: st.DrawFn, place: int) -> ml.Aggregation:
    function = draw(st.sampled_from(sorted(FUNCTIONS)))
    columns = [None] if function in OF_ROWS else []
    window = draw(WINDOWS.filter(lambda window: function != "rate" or (isinstance(window, str) and window != "lifetime")))
    options: dict[str, Any] = draw(PARAMETERS[FUNCTIONS[function].parameter])
    return ml.agg(
        draw(st.sampled_from(["real", "count", *columns])),
        function,
        windows=window,
        by=draw(st.sampled_from([None, "kind"])),
        where=draw(CONDITIONS),
        name=f"f{place}_{{column}}_{{function}}_{{window}}",
        series=draw(st.sampled_from([None, ["0s", "1d"], ["3h"]])),
        **options,
    )


@st.composite
def views(draw: st.DrawFn) -> ml.WindowView:
    count = draw(st.integers(1, 4))
    return ml.WindowView(
        "view",
        entity="user",
        source=draw(st.sampled_from([EVENTS, "events", "events@3"])),
        aggregations=[draw(aggregations(place)) for place in range(count)],
        where=draw(CONDITIONS),
        boundary=draw(st.sampled_from(["inclusive", "strict"])),
        offset=draw(st.one_of(st.none(), LENGTHS)),
    )


@given(views())
def test_a_view_comes_back_from_its_record_as_it_was(view: ml.WindowView) -> None:
    record = msgpack.unpackb(msgpack.packb(to_record(view)))

    found = from_record(record)

    assert isinstance(found, ml.WindowView)
    assert to_record(found) == record
    assert hash(found) == hash(found)
    assert evolve(found, from_record(record)).action == "unchanged"
    assert found.output_names == view.output_names


@given(views())
def test_every_output_has_a_name_of_its_own_and_the_type_of_its_function(view: ml.WindowView) -> None:
    outputs = resolve_outputs(view, table_layout(EVENTS))

    assert tuple(output.name for output in outputs) == view.output_names
    assert len(set(view.output_names)) == len(outputs)
    assert all(str(output.dtype).startswith("map<string, ") == (output.by is not None) for output in outputs)


@given(st.lists(WINDOWS, min_size=1, max_size=5, unique_by=str))
def test_tiles_are_made_of_each_other_and_fit_into_the_longest_window(windows: list[Any]) -> None:
    view = ml.WindowView("view", entity=None, source=EVENTS, aggregations=[ml.agg("real", "sum", windows=windows)])

    longest = max(parse_duration("30d") if window.kind == "lifetime" else window.length_ns for window in view.windows())
    assert all(coarser % finer == 0 and coarser >= 10 * finer for finer, coarser in pairwise(view.levels_ns))
    assert all(4 * level <= longest for level in view.levels_ns)


@given(views(), views())
def test_outputs_added_with_the_tiles_kept_come_in_place(view: ml.WindowView, other: ml.WindowView) -> None:
    def made(*given: ml.Aggregation) -> ml.WindowView:
        return ml.WindowView("view", entity="user", source=EVENTS, aggregations=given, tiles=["1m", "1h"])

    own = [ml.agg("real", "sum", windows="1h")]

    grown = evolve(made(*own), made(*own, *other.aggregations))
    shrunk = evolve(made(*own, *other.aggregations), made(*own))

    assert grown.action == "in_place"
    assert shrunk.action == "new_version"
    assert evolve(made(*view.aggregations), made(*reversed(view.aggregations))).action == "unchanged"
