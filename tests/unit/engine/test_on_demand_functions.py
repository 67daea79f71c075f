"""Functions of on-demand views: what they are given, what they must give back, and where they are found."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import mlstore as ml

GIVEN: list[dict[str, Any]] = []


class Broken(Exception):
    """What a function of somebody's raises."""


def view_of(function: Any, **options: Any) -> ml.OnDemandView:
    arguments: dict[str, Any] = {"request": {"x": ml.float64}, "returns": {"y": ml.float64}} | options
    return ml.OnDemandView("view", function=function, **arguments)


def ask(store: ml.Store, function: Any, keys: dict[str, Any], **options: Any) -> Any:
    store.apply(view_of(function, **options))
    return store.online_features("view", keys)


# ---------------------------------------------------------------- what a function is given


def remember(columns: dict[str, Any]) -> Any:
    sys.modules[__name__].GIVEN.append(columns)  # type: ignore[attr-defined]
    return {"y": next(iter(columns.values()))}


@pytest.fixture(autouse=True)
def nothing_given_yet() -> None:
    GIVEN.clear()


def test_arrow_columns_come_with_their_nulls(store: ml.Store) -> None:
    table = ask(store, remember, {"x": [1.0, None]})

    assert GIVEN[0]["x"].equals(pa.array([1.0, None]))
    assert table["y"].to_pylist() == [1.0, None]


def test_numpy_columns_come_without_the_rows_that_lack_something(store: ml.Store) -> None:
    request = {"x": ml.float64, "n": ml.int64}

    table = ask(store, remember, {"x": [1.0, None, 3.0, math.nan], "n": [1, 2, None, 2**53 + 1]}, request=request, over="numpy")

    assert GIVEN[0]["n"].dtype == np.int64
    assert GIVEN[0]["n"].tolist() == [1, 2**53 + 1]
    assert [str(value) for value in table["y"].to_pylist()] == ["1.0", "None", "None", "nan"]


def test_a_numpy_function_is_not_called_for_rows_that_all_lack_something(store: ml.Store) -> None:
    answer = ask(store, remember, {"x": None}, over="numpy")

    assert (answer, GIVEN) == ({"x": None, "y": None}, [])


@pytest.mark.parametrize(
    ("dtype", "value", "kind"),
    [
        (ml.bool_, True, "b"),
        (ml.uint8, 200, "u"),
        (ml.float32, 0.5, "f"),
        (ml.string, "ü", "O"),
        (ml.timestamp("ms"), "2024-01-01T12:00:00.001", "M"),
        (ml.date, "2024-01-01", "M"),
        (ml.vector(2), [1.0, 2.0], "f"),
    ],
)
def test_values_of_every_kind_come_back_as_they_were(store: ml.Store, dtype: ml.DType, value: Any, kind: str) -> None:
    name = {"request": {"x": dtype}, "returns": {"y": dtype}}

    through_numpy = ask(
        store, remember, {"x": pa.array([value, None]).cast(dtype.arrow) if kind in "Ou" else [value, None]}, over="numpy", **name
    )
    assert GIVEN[0]["x"].dtype.kind == kind
    through_arrow = ask(store, remember, {"x": [value, None]}, over="arrow", **name)

    assert through_numpy["y"].type == dtype.arrow
    assert through_numpy["y"].equals(through_arrow["y"])
    assert through_numpy["y"][0].as_py() is not None


def test_a_function_cannot_change_what_it_is_given(store: ml.Store) -> None:
    with pytest.raises(ml.ComputationError, match="read-only"):
        ask(store, spoil, {"x": [1.0]}, over="numpy")


def spoil(columns: dict[str, Any]) -> Any:
    columns["x"][0] = 9.0
    return columns["x"]


def test_a_division_by_zero_is_no_warning_and_no_error(store: ml.Store) -> None:
    assert ask(store, invert, {"x": [0.0, 4.0]}, over="numpy")["y"].to_pylist() == [math.inf, 0.25]


def invert(columns: dict[str, Any]) -> Any:
    return 1 / columns["x"]


# ---------------------------------------------------------------- what it gives back


def give_table(columns: dict[str, Any]) -> Any:
    return pa.table({"y": columns["x"]})


def give_chunks(columns: dict[str, Any]) -> Any:
    return {"y": pa.chunked_array([columns["x"].slice(0, 1), columns["x"].slice(1)])}


def give_list(columns: dict[str, Any]) -> Any:
    return {"y": columns["x"].to_pylist()}


def give_ints(columns: dict[str, Any]) -> Any:
    return {"y": pc.cast(columns["x"], pa.int8())}


def give_masked(columns: dict[str, Any]) -> Any:
    return np.ma.masked_array(columns["x"].to_numpy(), mask=False)


@pytest.mark.parametrize("function", [give_table, give_chunks, give_list, give_ints, give_masked])
def test_columns_of_any_make_are_taken(store: ml.Store, function: Any) -> None:
    table = ask(store, function, {"x": [1.0, 2.0]})

    assert table["y"].type == pa.float64()
    assert table["y"].to_pylist() == [1.0, 2.0]


def give_nothing(columns: dict[str, Any]) -> Any:
    return None


def give_other_names(columns: dict[str, Any]) -> Any:
    return {"z": columns["x"]}


def give_more(columns: dict[str, Any]) -> Any:
    return {"y": columns["x"], "z": columns["x"]}


def give_text(columns: dict[str, Any]) -> Any:
    return {"y": ["a"] * len(columns["x"])}


def give_fewer(columns: dict[str, Any]) -> Any:
    return {"y": columns["x"][:1]}


def give_mean(columns: dict[str, Any]) -> Any:
    return {"y": 2.0}


def fail(columns: dict[str, Any]) -> Any:
    raise Broken("no luck")


def misname(columns: dict[str, Any]) -> Any:
    return columns["amount"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (give_nothing, "view view: y: a NoneType is no column"),
        (give_other_names, r"give_other_names returned z, not y"),
        (give_more, r"give_more returned y, z, not y"),
        (give_text, r"y: expected float64, got string"),
        (give_fewer, r"y: 1 values for 2 rows"),
        (give_mean, r"y: a float is no column"),
        (fail, r"fail failed on 2 rows: Broken: no luck"),
        (misname, r"misname failed on 2 rows: KeyError: 'amount' \(it was given x as arrow columns"),
    ],
)
def test_what_a_function_must_not_do_is_told_with_the_view(store: ml.Store, function: Any, message: str) -> None:
    with pytest.raises(ml.ComputationError, match=message):
        ask(store, function, {"x": [1.0, 2.0]})
    with pytest.raises(ml.ComputationError, match="on-demand view view"):
        store.training_set({"x": [1.0, 2.0], "event_timestamp": ["2024-01-01"] * 2}, "view")


def test_the_cause_of_a_failure_is_kept(store: ml.Store) -> None:
    with pytest.raises(ml.ComputationError) as told:
        ask(store, fail, {"x": 1.0})

    assert isinstance(told.value.__cause__, Broken)


def test_a_value_out_of_range_of_what_is_declared_is_refused(store: ml.Store) -> None:
    with pytest.raises(ml.ComputationError, match="y, row 1: 300 does not fit int8"):
        ask(store, give_large, {"x": [1.0, 2.0]}, returns={"y": ml.int8})


def give_large(columns: dict[str, Any]) -> Any:
    return {"y": pa.array([1, 300])}


# ---------------------------------------------------------------- where it is found


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of a user's, `features_of_shop`, and a process that has not loaded it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("mlstore.schema.functions._loaded", {})
    monkeypatch.setattr("mlstore.schema.functions._latest", {})
    path = tmp_path / "features_of_shop.py"
    write_module(path, "2")
    yield path
    sys.modules.pop("features_of_shop", None)


def write_module(path: Path, factor: str) -> None:
    path.write_text(
        "import mlstore as ml\n\n"
        "@ml.on_demand(request={'x': ml.float64}, returns={'y': ml.float64}, over='numpy')\n"
        f"def twice(columns):\n    return {{'y': columns['x'] * {factor}}}\n"
    )
    importlib.invalidate_caches()
    sys.modules.pop("features_of_shop", None)


def forget_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlstore.schema.functions._loaded", {})
    monkeypatch.setattr("mlstore.schema.functions._latest", {})


def test_a_function_that_is_not_loaded_is_not_run_but_asked_for(store: ml.Store, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.apply(importlib.import_module("features_of_shop").twice)
    sys.modules.pop("features_of_shop")
    forget_functions(monkeypatch)

    with pytest.raises(ml.FunctionMissingError, match=r"features_of_shop:twice .* is not loaded.*store\.use\('features_of_shop'\)"):
        store.online_features("twice", {"x": 1.0})
    assert "features_of_shop" not in sys.modules

    assert store.use("features_of_shop:twice") == ("twice",)
    assert store.online_features("twice", {"x": 1.0})["y"] == 2.0


def test_a_function_that_has_changed_is_refused_until_it_is_applied(store: ml.Store, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.apply(importlib.import_module("features_of_shop").twice)
    forget_functions(monkeypatch)
    write_module(shop, "3")

    with pytest.raises(ml.FunctionMissingError, match="its function has changed"):
        store.use("features_of_shop")
    with pytest.raises(ml.FunctionMissingError, match="its function has changed"):
        store.training_set({"x": [1.0], "event_timestamp": ["2024-01-01"]}, "twice")

    plan = store.apply(importlib.import_module("features_of_shop").twice)

    assert [change.action for change in plan.changes] == ["new_version"]
    assert store.online_features("twice", {"x": 1.0})["y"] == 3.0
    assert store.use() == ("twice@2",)
    with pytest.raises(ml.FunctionMissingError):
        store.online_features("twice@1", {"x": 1.0})


def test_a_module_that_cannot_be_imported_is_told(store: ml.Store) -> None:
    with pytest.raises(ml.UsageError, match="module 'no_such_features' cannot be imported: ModuleNotFoundError"):
        store.use("no_such_features")


def test_the_file_holds_the_text_and_opening_it_runs_nothing(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shop.mls"
    with ml.open(path) as store:
        store.apply(importlib.import_module("features_of_shop").twice)
    sys.modules.pop("features_of_shop")
    forget_functions(monkeypatch)

    with ml.open(path) as store:
        [entry] = store.catalog(kind="on_demand")

        assert isinstance(entry.definition, ml.OnDemandView)
        assert entry.definition.code is not None
        assert "return {'y': columns['x'] * 2}" in entry.definition.code.source
        assert "features_of_shop" not in sys.modules
