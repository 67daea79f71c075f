"""The rules of the house. Each takes modules and gives one sentence per violation: where, and what to do instead."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence

from tests.architecture.house import APART, DOOR, ENGINE_ROOMS, FACE, FLOORS, PACKAGE, Module, floor_of, room_of

MAX_LINES = 450

ANYWHERE = frozenset(sys.stdlib_module_names) | {PACKAGE, "numpy"}
ALLOWED = {
    "_core": {"cython", "libc", "cpython"},
    "errors": set[str](),
    "schema": {"pyarrow"},
    "format": {"pyarrow", "msgpack", "xxhash", "zstandard"},
    "storage": {"pyarrow", "lmdb", "msgpack", "xxhash"},
    "engine": {"pyarrow", "datasketches"},
    "": {"pyarrow"},
    "cli": {"pyarrow", "typer", "rich"},
    "integrations": {"pyarrow", "confluent_kafka", "deltalake"},
}
UNSAFE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
LEADS_ON = {("cli", "integrations")}  # the command line gives people the doors to other systems
MAY_OPEN_FILES = {"storage", "cli", "integrations"}
OPENERS = {"read_text", "read_bytes", "write_text", "write_bytes", "os.open", "io.open", "os.fdopen", "mmap.mmap"}


def imports_that_climb(modules: Iterable[Module]) -> Iterator[str]:
    """An import points down, or stays in its folder; rooms stand alone; doors know the face only; all know the errors."""
    for module in modules:
        for item in module.imports:
            if item.target.startswith("."):
                yield f"{module.name}:{item.line} imports {item.target} relatively; write the whole name"
            if item.target.split(".")[0] != PACKAGE or _same_folder(module.name, item.target):
                continue
            if room_of(item.target) == "errors":  # the ground that all may stand on
                continue
            if (module.room, room_of(item.target)) in LEADS_ON:
                continue
            here, there = floor_of(module.name), floor_of(item.target)
            if there >= here:
                yield f"{module.name}:{item.line} (floor {here}) imports {item.target} (floor {there}); an import only points down"
            elif here == DOOR and there != FACE:
                yield f"{module.name}:{item.line} imports {item.target}; a door uses public names, from {PACKAGE} itself"


def engine_rooms_that_climb(modules: Iterable[Module]) -> Iterator[str]:
    """Inside the engine too an import points down: history, asking, writing, branching, keeping; joining stands apart."""
    for module in modules:
        here = _engine_floor(module.name)
        for item in module.imports:
            there = _engine_floor(item.target)
            if here is not None and there is not None and there > here:
                yield f"{module.name}:{item.line} imports {item.target}, a room above its own; move what both need down"


def _engine_floor(name: str) -> int | None:
    """Where a module of the engine's rooms stands; None for its nouns and for what is not the engine."""
    room = name.removeprefix(f"{PACKAGE}.engine.").split(".")[0]
    if not name.startswith(f"{PACKAGE}.engine.") or room not in (*ENGINE_ROOMS, APART):
        return None
    return len(ENGINE_ROOMS) if room == APART else ENGINE_ROOMS.index(room)


def _same_folder(name: str, target: str) -> bool:
    return room_of(name) == room_of(target)


def packages_out_of_place(modules: Iterable[Module]) -> Iterator[str]:
    """A third-party package is imported only where the allow-list says."""
    for module in modules:
        allowed = ANYWHERE | ALLOWED.get(module.room, {"pyarrow"})
        for item in module.imports:
            package = item.target.split(".")[0]
            if package and package not in allowed:
                yield f"{module.name}:{item.line} imports {package}; not allowed in {module.room or 'the face'}/, ask the room that owns it"


def unsafe_imports(modules: Iterable[Module]) -> Iterator[str]:
    """Nothing that runs code on load may come near the file."""
    for module in modules:
        for item in module.imports:
            if item.target.split(".")[0] in UNSAFE:
                yield f"{module.name}:{item.line} imports {item.target}; a store must be safe to open, whoever wrote it"


def circles(modules: Iterable[Module]) -> Iterator[str]:
    """No module imports itself by any road."""
    graph = {module.name: sorted({item.target for item in module.imports if item.target != module.name}) for module in modules}
    finished: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            yield " -> ".join((*path[path.index(name) :], name))
        elif name in graph and name not in finished:
            for target in graph[name]:
                yield from walk(target, (*path, name))
            finished.add(name)

    for start in graph:
        yield from walk(start, ())


def overlong(modules: Iterable[Module]) -> Iterator[str]:
    """A file is read in one sitting."""
    for module in modules:
        lines = module.text.count("\n") + 1
        if lines > MAX_LINES:
            yield f"{module.name} has {lines} lines; split it by noun, at most {MAX_LINES}"


def without_docstring(modules: Sequence[Module]) -> Iterator[str]:
    """A module says at its head what it is for; a kernel and its header (.pxd) are one module."""
    told = {module.name: False for module in modules}
    for module in modules:
        told[module.name] |= _has_docstring(module)
    for name in (name for name, has_one in told.items() if not has_one):
        yield f"{name} has no docstring; say what the file is for and what it refuses to know"


def _has_docstring(module: Module) -> bool:
    if not module.is_cython:
        return bool((ast.get_docstring(module.tree) or "").strip())
    code = [line for line in module.text.splitlines() if line.strip() and not line.startswith("#")]
    return bool(code) and code[0].startswith('"""') and bool(code[0].strip('" '))


def bare_excepts(modules: Iterable[Module]) -> Iterator[str]:
    """Catch what you can mend, by name."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                yield f"{module.name}:{node.lineno} catches everything; name the error"
        if module.is_cython:
            for line, code in enumerate(module.text.splitlines(), start=1):
                if code.strip() == "except:":
                    yield f"{module.name}:{line} catches everything; name the error"


def files_opened_upstairs(modules: Iterable[Module]) -> Iterator[str]:
    """One door to the disk: storage opens the store, the command line the user's files, nobody else anything."""
    for module in modules:
        if module.room in MAY_OPEN_FILES:
            continue
        tree = module.tree
        shadowed = _defines_open(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _opens_file(node.func, shadowed=shadowed):
                yield f"{module.name}:{node.lineno} opens a file; only {' and '.join(sorted(MAY_OPEN_FILES))} may"


def _opens_file(function: ast.expr, *, shadowed: bool) -> bool:
    if isinstance(function, ast.Name):
        return function.id == "open" and not shadowed
    if isinstance(function, ast.Attribute):
        owner = f"{function.value.id}." if isinstance(function.value, ast.Name) else ""
        return function.attr in OPENERS or f"{owner}{function.attr}" in OPENERS
    return False


def _defines_open(tree: ast.Module) -> bool:
    """Whether the module's own `open`, such as mlstore's, hides the builtin."""
    return any(isinstance(node, ast.FunctionDef) and node.name == "open" for node in tree.body)


RULES = (
    imports_that_climb,
    engine_rooms_that_climb,
    packages_out_of_place,
    unsafe_imports,
    circles,
    overlong,
    without_docstring,
    bare_excepts,
    files_opened_upstairs,
)

__all__ = ["ALLOWED", "FLOORS", "RULES", *(rule.__name__ for rule in RULES)]
