"""Functions as data: what the hash of one covers, what it does not, and what cannot be told."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mlstore as ml
from mlstore.schema.functions import FunctionCode, code_of, find_function, load_function

BASE = """
import math
FACTOR = 2.0
def helper(x):
    return x * FACTOR
def score(columns, bias=1):
    \"\"\"What it says.\"\"\"
    return helper(columns["x"]) + math.pi + bias
"""


class Modules:
    """Writes modules and imports them anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def load(self, text: str) -> ModuleType:
        self._count += 1
        name = f"functions_of_test_{self._count}"
        (self._folder / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    def digest(self, text: str) -> str:
        return code_of(self.load(text).score, "test").digest


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Modules]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Modules(tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith("functions_of_test"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    return x * FACTOR", "    return x * FACTOR  # doubled"),
        ('    """What it says."""\n', ""),
        ('    """What it says."""', '    """Other words,\n    on two lines."""'),
        ("return x * FACTOR", "return x*FACTOR"),
        ("FACTOR = 2.0", "FACTOR = 4.0 / 2"),
        ("import math", "import math, json"),
    ],
)
def test_what_changes_nothing_keeps_the_hash(modules: Modules, old: str, new: str) -> None:
    changed = BASE.replace(old, new)

    assert changed != BASE
    assert modules.digest(changed) == modules.digest(BASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("+ math.pi", "- math.pi"),
        ("FACTOR = 2.0", "FACTOR = 2"),
        ("FACTOR = 2.0", "FACTOR = -0.0"),
        ("bias=1", "bias=2"),
        ("return x * FACTOR", "return FACTOR * x"),
        ("import math", "import cmath as math"),
        ("def helper(x):\n    return x * FACTOR", "from operator import neg as helper"),
        ('columns["x"]', "columns['x']"),
    ],
)
def test_what_may_change_the_answer_changes_the_hash(modules: Modules, old: str, new: str) -> None:
    changed = BASE.replace(old, new)

    assert changed != BASE
    assert modules.digest(changed) != modules.digest(BASE)


def test_a_formatted_text_is_part_of_the_hash(modules: Modules) -> None:
    told = 'def score(c):\n    return f"{c[0]:>{c[1]}} of {c!r}"\n'

    assert modules.digest(told) == modules.digest(told + "# the end\n")
    assert modules.digest(told) != modules.digest(told.replace(" of ", " at "))
    assert modules.digest(told) != modules.digest(told.replace("c!r", "c!s"))


def test_constants_that_a_closure_holds_are_part_of_the_hash(modules: Modules) -> None:
    made = "def make(bias):\n    def score(c):\n        return c['x'] + bias\n    return score\nscore = make({})\n"

    assert modules.digest(made.format("1")) == modules.digest(made.format("1"))
    assert modules.digest(made.format("1")) != modules.digest(made.format("1.0"))
    assert modules.digest(made.format("{'a': (1, 2)}")) != modules.digest(made.format("{'a': (1, 3)}"))


def test_a_set_is_told_whatever_the_order_of_its_hashes(modules: Modules) -> None:
    told = "MEMBERS = {}\ndef score(c):\n    return c in MEMBERS\n"

    assert modules.digest(told.format("{'a', 'b', 'c'}")) == modules.digest(told.format("{'c', 'b', 'a'}"))


def test_functions_that_call_each_other_are_told_once(modules: Modules) -> None:
    told = (
        "def even(n):\n    return n == 0 or odd(n - 1)\ndef odd(n):\n    return n != 0 and even(n - 1)\ndef score(c):\n    return even(c)\n"
    )

    assert modules.digest(told) != modules.digest(told.replace("n != 0", "n > 0"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Model: pass\nMODEL = Model()\ndef score(c):\n    return MODEL\n", "MODEL, which score reads, is a Model"),
        ("def score(c):\n    return LATER\n", "'LATER', which is not defined yet"),
        ("def score(c, model=object()):\n    return model\n", "a default of score is a object"),
        ("score = lambda c: c\n", "a function without def"),
        ("async def score(c):\n    return c\n", "is no plain function"),
        ("def score(c):\n    yield c\n", "is no plain function"),
        ("score = len\n", "is no plain function"),
        ("def score(c):\n    return '" + "x" * 70_000 + "'\n", "characters"),
    ],
)
def test_a_function_that_cannot_be_told_is_refused_with_the_reason(modules: Modules, text: str, message: str) -> None:
    with pytest.raises(ml.DefinitionError, match=message):
        modules.digest(text)


def test_a_function_without_source_is_refused() -> None:
    namespace: dict[str, Any] = {}
    exec("def score(c):\n    return c\n", namespace)

    with pytest.raises(ml.DefinitionError, match="the source of score is not at hand"):
        code_of(namespace["score"], "test")


def test_a_function_is_found_by_what_it_does_wherever_it_lies(modules: Modules) -> None:
    first, second = modules.load(BASE), modules.load(BASE)
    code = code_of(first.score, "test")

    load_function(second.score, "test")

    assert find_function(code, "test") is second.score


def test_a_function_that_is_not_loaded_is_told_with_the_cure() -> None:
    with pytest.raises(ml.FunctionMissingError, match=r"shop\.risk:nobody .* is not loaded.*store\.use\('shop\.risk'\)"):
        find_function(FunctionCode("shop.risk:nobody", "", "0" * 32), "view risk")


def test_a_function_that_has_changed_is_told_as_such(modules: Modules) -> None:
    told = "def only_here(c):\n    return c\n"
    code = code_of(modules.load(told).only_here, "test")

    load_function(modules.load(told.replace("return c", "return -c")).only_here, "test")

    with pytest.raises(ml.FunctionMissingError, match=r"has changed: .*apply the view as it is now"):
        find_function(code, "view risk")
