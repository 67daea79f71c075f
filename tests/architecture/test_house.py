"""The package obeys every rule of the house, and every rule sees the violation that is planted for it."""

from __future__ import annotations

import pytest

from tests.architecture import rules
from tests.architecture.house import Module, load_house, module_from

KNOWN = (
    "mlstore.schema.dtypes",
    "mlstore.storage.lease",
    "mlstore.store",
    "mlstore.windows.tiles",
    "mlstore.tracking.runs",
    "mlstore.errors",
)


def plant(name: str, text: str, *, is_cython: bool = False) -> list[Module]:
    return [module_from(name, f'"""Planted."""\n{text}\n', known=KNOWN, is_cython=is_cython)]


@pytest.fixture(scope="module")
def house() -> list[Module]:
    return load_house()


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_the_house_obeys(rule, house):
    violations = list(rule(house))

    assert not violations, "\n".join([rule.__doc__, *violations])


def test_the_house_is_seen_whole(house):
    rooms = {module.room for module in house}

    assert {"_core", "errors", "schema", "format", "storage", "engine"} <= rooms
    assert any(module.is_cython for module in house)
    assert any(item.target.startswith("mlstore.") for module in house for item in module.imports)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mlstore.schema.entity", "from mlstore.storage.lease import Lease"),
        ("mlstore.schema.entity", "from mlstore.storage import lease"),
        ("mlstore.schema.entity", "from mlstore import store"),
        ("mlstore.schema.entity", "import mlstore.store"),
        ("mlstore.engine.catalog", "def late():\n    import mlstore"),
        ("mlstore.storage.lease", "if False:\n    from mlstore.engine.catalog import Catalog"),
        ("mlstore.schema.entity", "from .dtypes import int64"),
        ("mlstore.windows.tiles", "from mlstore.tracking.runs import Run"),
        ("mlstore.windows.tiles", "from mlstore.tracking import runs"),
        ("mlstore.errors", "from mlstore._core import asof"),
        ("mlstore.cli.main", "from mlstore.storage.lease import Lease"),
        ("mlstore.cli.main", "from mlstore.server.app import serve"),
        ("mlstore.cli.main", "import mlstore.__main__"),
    ],
)
def test_an_import_that_climbs_is_seen(name, text):
    violations = list(rules.imports_that_climb(plant(name, text)))

    assert len(violations) == 1
    assert violations[0].startswith(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mlstore.storage.lease", "from mlstore.schema import dtypes\nfrom mlstore.errors import StoreError\nfrom mlstore import errors"),
        ("mlstore._core.rows", "from mlstore.errors import InvalidDataError"),
        ("mlstore.storage.lease", "from mlstore.storage.environment import Environment"),
        ("mlstore.store", "from mlstore.frames import to_arrow"),
        ("mlstore.__main__", "from mlstore.cli import main"),
        ("mlstore.windows.tiles", "import mlstore\nfrom mlstore._core import asof"),
        ("mlstore.cli.main", "import mlstore as ml\nfrom mlstore.errors import UsageError\nfrom mlstore.cli.render import table"),
    ],
)
def test_an_import_that_points_down_or_stays_at_home_is_allowed(name, text):
    violations = list(rules.imports_that_climb(plant(name, text)))

    assert violations == []


def test_a_kernel_that_climbs_is_seen():
    planted = plant("mlstore._core.asof", "from mlstore.schema cimport dtypes\ncimport numpy as cnp, mlstore.store", is_cython=True)

    violations = list(rules.imports_that_climb(planted))

    assert [violation.split()[0] for violation in violations] == ["mlstore._core.asof:2", "mlstore._core.asof:3"]


@pytest.mark.parametrize(
    ("name", "text", "is_allowed"),
    [
        ("mlstore.engine.history.block", "from mlstore.engine.asking.reading import scan", False),
        ("mlstore.engine.writing.ingest", "from mlstore.engine.keeping import rewriting", False),
        ("mlstore.engine.writing.ingest", "from mlstore.engine.joining.axis import Axis", False),
        ("mlstore.engine.writing.upkeep", "from mlstore.engine.writing.ingest import write", True),
        ("mlstore.engine.joining.pairing", "from mlstore.engine.history.gather import gather", True),
        ("mlstore.engine.session", "from mlstore.engine.history.offline import Shelf", True),
    ],
)
def test_a_room_of_the_engine_that_climbs_is_caught(name, text, is_allowed):
    violations = list(rules.engine_rooms_that_climb(plant(name, text)))

    assert bool(violations) is not is_allowed


@pytest.mark.parametrize(
    ("name", "text", "package"),
    [
        ("mlstore.engine.catalog", "import lmdb", "lmdb"),
        ("mlstore.schema.entity", "import msgpack", "msgpack"),
        ("mlstore.storage.lease", "import pandas as pd", "pandas"),
        ("mlstore.store", "from rich.table import Table", "rich"),
        ("mlstore.engine.catalog", "def late():\n    import zstandard", "zstandard"),
    ],
)
def test_a_package_out_of_place_is_seen(name, text, package):
    violations = list(rules.packages_out_of_place(plant(name, text)))

    assert len(violations) == 1
    assert package in violations[0]


@pytest.mark.parametrize("text", ["import pyarrow as pa", "from pyarrow cimport lib", "cimport pyarrow.lib"])
def test_a_kernel_that_knows_arrow_is_seen(text):
    violations = list(rules.packages_out_of_place(plant("mlstore._core.asof", text, is_cython=True)))

    assert len(violations) == 1


def test_a_package_in_its_place_is_allowed():
    violations = list(rules.packages_out_of_place(plant("mlstore.storage.environment", "import os, lmdb\nimport pyarrow.compute as pc")))

    assert violations == []


@pytest.mark.parametrize("text", ["import pickle", "from marshal import loads", "import cloudpickle"])
def test_an_unsafe_import_is_seen(text):
    violations = list(rules.unsafe_imports(plant("mlstore.storage.lease", text)))

    assert len(violations) == 1


def test_a_circle_is_seen_with_its_whole_road():
    names = ("mlstore.engine.a", "mlstore.engine.b", "mlstore.engine.c")
    planted = [
        module_from("mlstore.engine.a", "from mlstore.engine import b", known=names),
        module_from("mlstore.engine.b", "from mlstore.engine.c import thing", known=names),
        module_from("mlstore.engine.c", "import mlstore.engine.a", known=names),
    ]

    found = list(rules.circles(planted))

    assert found == ["mlstore.engine.a -> mlstore.engine.b -> mlstore.engine.c -> mlstore.engine.a"]


def test_two_roads_to_one_module_are_no_circle():
    names = ("mlstore.engine.a", "mlstore.engine.b", "mlstore.engine.c")
    planted = [
        module_from("mlstore.engine.a", "from mlstore.engine import b, c", known=names),
        module_from("mlstore.engine.b", "from mlstore.engine import c", known=names),
        module_from("mlstore.engine.c", "import os", known=names),
    ]

    assert list(rules.circles(planted)) == []


def test_an_overlong_file_is_seen():
    at_the_limit = plant("mlstore.store", "\n" * (rules.MAX_LINES - 3))
    over_it = plant("mlstore.store", "\n" * (rules.MAX_LINES - 2))

    assert list(rules.overlong(at_the_limit)) == []
    assert len(list(rules.overlong(over_it))) == 1


@pytest.mark.parametrize(
    ("text", "is_cython"),
    [("import os\n", False), ('""""""\n', False), ("# a comment\ncimport cython\n", True), ('"""\n"""\n', True)],
)
def test_a_missing_docstring_is_seen(text, is_cython):
    violations = list(rules.without_docstring([module_from("mlstore.store", text, is_cython=is_cython)]))

    assert len(violations) == 1


def test_a_kernel_speaks_for_its_header():
    kernel = module_from("mlstore._core.rows", '"""Rows."""\n', is_cython=True)
    header = module_from("mlstore._core.rows", "cdef enum Kind:\n    A = 0\n", is_cython=True)

    assert list(rules.without_docstring([header, kernel])) == []
    assert len(list(rules.without_docstring([header]))) == 1


@pytest.mark.parametrize("is_cython", [False, True])
def test_a_bare_except_is_seen(is_cython):
    planted = plant("mlstore.store", "try:\n    x = 1\nexcept:\n    x = 2", is_cython=is_cython)

    assert len(list(rules.bare_excepts(planted))) == 1


@pytest.mark.parametrize("text", ["open('a')", "os.open('a', 0)", "Path('a').read_text()", "path.write_bytes(b'')", "mmap.mmap(3, 0)"])
def test_a_file_opened_upstairs_is_seen(text):
    upstairs = plant("mlstore.engine.upkeep", text)
    at_the_door = plant("mlstore.storage.environment", text)

    assert len(list(rules.files_opened_upstairs(upstairs))) == 1
    assert list(rules.files_opened_upstairs(at_the_door)) == []


def test_opening_a_store_is_not_opening_a_file():
    planted = plant("mlstore.store", "def open(path):\n    return path\n\nmain = open('flights.mls')\nother = ml.open('x')")

    assert list(rules.files_opened_upstairs(planted)) == []
