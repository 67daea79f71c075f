"""The house as data: every module of the package with its floor, its room and its imports.

Reads source text only and imports nothing of it, so that a broken module can still be judged.
Invariant: an import is an import wherever it stands, in a function or under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "mlstore"

FACE, DOOR = 5, 7
FLOORS = {
    "_core": 0,
    "errors": 0,
    "schema": 1,
    "format": 2,
    "storage": 3,
    "engine": 4,
    "windows": 6,
    "tracking": 6,
    "inference": 6,
    "quality": 6,
    "changes": 6,
    "datasets": 6,
    "cli": DOOR,
    "server": DOOR,
    "web": DOOR,
    "integrations": DOOR,
    "__main__": DOOR + 1,  # the street: `python -m mlstore` walks up to a door
}

# The rooms of the engine, from the ground up. The nouns that all stand on lie beside them, in engine/ itself.
ENGINE_ROOMS = ("history", "windows", "asking", "writing", "branching", "keeping")
APART = "joining"  # needs no file: stands on the nouns and the searches of history, and none stands on it


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement's target: `mlstore.schema.dtypes`, or `pyarrow.compute`."""

    target: str
    line: int


@dataclass(frozen=True, slots=True)
class Module:
    """One source file, named as Python would import it."""

    name: str
    text: str
    imports: tuple[Import, ...]
    is_cython: bool = False

    @property
    def room(self) -> str:
        return room_of(self.name)

    @property
    def tree(self) -> ast.Module:
        """The syntax tree; an empty one for Cython, which Python cannot parse."""
        return ast.Module([], []) if self.is_cython else ast.parse(self.text)


def room_of(name: str) -> str:
    """The folder under the package that a module lives in; `` for a module of the face."""
    parts = name.split(".")[1:]
    return parts[0] if parts and parts[0] in FLOORS else ""


def floor_of(name: str) -> int:
    return FLOORS.get(room_of(name), FACE)


def module_from(name: str, text: str, *, known: Iterable[str] = (), is_cython: bool = False) -> Module:
    """Parse one module; `known` are the package's modules, to tell `from a import module` from `from a import name`."""
    found = cython_imports(text) if is_cython else python_imports(text)
    resolved = (_resolve(target, names, line, frozenset(known)) for target, names, line in found)
    return Module(name, text, tuple(item for group in resolved for item in group), is_cython)


def _resolve(target: str, names: tuple[str, ...], line: int, known: frozenset[str]) -> Iterator[Import]:
    submodules = [f"{target}.{name}" for name in names if f"{target}.{name}" in known]
    if len(submodules) < len(names) or not names:
        yield Import(target, line)
    yield from (Import(submodule, line) for submodule in submodules)


def python_imports(text: str) -> Iterator[tuple[str, tuple[str, ...], int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, (), node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import has no floor: the linter bans it, and here it becomes a name that no rule allows.
            yield "." * node.level + (node.module or ""), tuple(alias.name for alias in node.names), node.lineno


CYTHON_FROM = re.compile(r"^\s*from\s+([\w.]+)\s+c?import\s+\(?\s*([\w, ]*)")
CYTHON_IMPORT = re.compile(r"^\s*c?import\s+([\w., ]+)")


def cython_imports(text: str) -> Iterator[tuple[str, tuple[str, ...], int]]:
    for line, code in enumerate(text.splitlines(), start=1):
        if match := CYTHON_FROM.match(code):
            yield match[1], tuple(re.findall(r"\w+", match[2])), line
        elif match := CYTHON_IMPORT.match(code):
            yield from ((part.split()[0], (), line) for part in match[1].split(",") if part.strip())


def load_house(package_dir: Path = ROOT / "src" / PACKAGE) -> list[Module]:
    """Every module of the package, kernels and their headers included."""
    sources = {
        path: _module_name(path, package_dir) for path in sorted(package_dir.rglob("*.p*")) if path.suffix in {".py", ".pyx", ".pxd"}
    }
    known = set(sources.values())
    return [
        module_from(name, path.read_text(encoding="utf-8"), known=known, is_cython=path.suffix != ".py") for path, name in sources.items()
    ]


def _module_name(path: Path, package_dir: Path) -> str:
    parts = path.relative_to(package_dir.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
