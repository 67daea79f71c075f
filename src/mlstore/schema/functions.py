"""Functions of on-demand views as data: name, source and a hash of what they do; and those that this process has loaded.

The file keeps the text for people and the hash for machines. Nothing from a file is ever executed: a function that is called was defined by
the running program, and its hash is that of the catalogue.
"""

from __future__ import annotations

import builtins
import dis
import importlib
import inspect
import io
import textwrap
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from operator import itemgetter
from types import CodeType, FunctionType, ModuleType
from typing import Any

from mlstore.errors import DefinitionError, FunctionMissingError, UsageError

MAX_SOURCE = 1 << 16
_CURE = "make it a constant, a module, or a function or class with a name, which can be told apart; or import it inside the function"
_DROPPED = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
_WIDTHLESS = {tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE}


@dataclass(frozen=True, slots=True)
class FunctionCode:
    """A function as the catalogue keeps it: `module:function`, its source text, and the hash of what it does."""

    name: str
    source: str
    digest: str

    @property
    def module(self) -> str:
        return self.name.partition(":")[0]

    @property
    def function(self) -> str:
        return self.name.partition(":")[2]


_loaded: dict[str, Callable[..., Any]] = {}  # by hash
_latest: dict[str, FunctionCode] = {}  # by name, whatever the module


def load_function(function: Callable[..., Any], place: str) -> FunctionCode:
    """The code of a function, which is from now on found in this process; DefinitionError: it cannot be told what it does."""
    code = code_of(function, place)
    _loaded[code.digest] = function
    _latest[code.function] = code
    return code


def import_module(name: str) -> None:
    """Import a module that the user has named; UsageError: it cannot be."""
    try:
        importlib.import_module(name)
    except Exception as cause:
        raise UsageError(
            f"module {name!r:.80} cannot be imported: {type(cause).__name__}: {cause}", hint="it is looked for on sys.path, as by import"
        ) from cause


def is_loaded(code: FunctionCode) -> bool:
    """Whether this process has the function."""
    return code.digest in _loaded


def find_function(code: FunctionCode, place: str) -> Callable[..., Any]:
    """The function in this process that does what the code says; FunctionMissingError: there is none, or another of that name."""
    found = _loaded.get(code.digest)
    if found is not None:
        return found
    other = _latest.get(code.function)
    if other is not None:
        raise FunctionMissingError(
            f"{place}: its function has changed: {code.name} with hash {code.digest[:12]} is registered, {other.name} with hash "
            f"{other.digest[:12]} is loaded",
            hint="apply the view as it is now, which makes a new version of it; or load the code as it was",
        )
    raise FunctionMissingError(
        f"{place}: its function {code.name} (hash {code.digest[:12]}) is not loaded in this process, and nothing from the file is ever run",
        hint=f"import the module that defines it, or let store.use({code.module!r}) do it; on the command line: --code FILE.py",
    )


def code_of(function: Callable[..., Any], place: str) -> FunctionCode:
    """Name, source and hash. The hash covers the source (but for comments, layout, decorators and docstring), the values of constants it
    reads, defaults among them, and the functions of its module that it calls."""
    if not isinstance(function, FunctionType) or inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise DefinitionError(f"{place}: {function!r:.80} is no plain function", hint="write it with def, to take and return columns")
    _check_signature(function, place)
    source = _source_of(function, place)
    digest = blake2b(digest_size=16)
    for part in _told(function, place, {}):
        digest.update(part.encode() + b"\0")
    return FunctionCode(_name_of(function), source, digest.hexdigest())


def _check_signature(function: FunctionType, place: str) -> None:
    signature = inspect.signature(function)
    try:
        signature.bind({})
    except TypeError as cause:
        message = f"{place}: {function.__qualname__}{signature} does not take one dict of columns"
        raise DefinitionError(message, hint='write def f(columns), and columns["amount"] for the column') from cause


def _name_of(function: FunctionType) -> str:
    """`module:function`. A file that was run, not imported, has no module: it is called after the file."""
    module = inspect.getmodule(function)
    name = function.__module__
    if module is None or getattr(module, "__spec__", None) is None:
        file = inspect.getfile(function).replace("\\", "/").rpartition("/")[2].removesuffix(".py")
        name = file if file.isidentifier() else name
    return f"{name}:{function.__qualname__}"


def _source_of(function: FunctionType, place: str) -> str:
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as cause:
        raise DefinitionError(
            f"{place}: the source of {function.__qualname__} is not at hand: {cause}", hint="define it in a file or a notebook"
        ) from cause
    if len(source) > MAX_SOURCE:
        message = f"{place}: the source of {function.__qualname__} has {len(source):,} characters"
        raise DefinitionError(message, hint=f"at most {MAX_SOURCE:,}: move parts of it to a module")
    return source


def _told(function: FunctionType, place: str, seen: dict[FunctionType, None]) -> Iterator[str]:
    """All that settles what a function does, in words."""
    seen[function] = None
    yield from _tokens(_source_of(function, place), place)
    for default in (*(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items())):
        yield f"default {_constant(default, f'{place}: a default of {function.__qualname__}')}"
    for name, value in (*_enclosed(function), *_globals(function, place)):
        if isinstance(value, FunctionType) and value.__module__ == function.__module__:
            yield f"function {name}"
            if value not in seen:
                yield from _told(value, place, seen)
        else:
            yield f"{name} = {_constant(value, f'{place}: {name}, which {function.__qualname__} reads,')}"


def _enclosed(function: FunctionType) -> list[tuple[str, Any]]:
    """What the functions around it lend it."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return sorted(((name, cell.cell_contents) for name, cell in cells), key=itemgetter(0))


def _globals(function: FunctionType, place: str) -> Iterator[tuple[str, Any]]:
    for name in sorted(set(_global_names(function.__code__))):
        if name == function.__name__:  # itself, or the view it is made into
            continue
        if name in function.__globals__:
            yield name, function.__globals__[name]
        elif not hasattr(builtins, name):
            message = f"{place}: {function.__qualname__} uses {name!r}, which is not defined yet"
            raise DefinitionError(message, hint="define it above the view")


def _global_names(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _constant(value: Any, place: str) -> str:
    """A value in words that differ where values do; DefinitionError: it is not known what it holds."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(_constant(part, place) for part in value)})"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({', '.join(sorted(_constant(part, place) for part in value))})"
    if isinstance(value, Mapping) and type(value) is dict:
        return f"dict({', '.join(f'{_constant(name, place)}: {_constant(part, place)}' for name, part in value.items())})"
    if isinstance(value, ModuleType):
        return f"module {value.__name__}"
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if callable(value) and isinstance(name, str):
        return f"{getattr(value, '__module__', '')}:{name}"
    raise DefinitionError(f"{place} is a {type(value).__name__}, whose changes would go unnoticed", hint=_CURE)


def _tokens(source: str, place: str) -> Iterator[str]:
    """The words of a function's text: the same whatever its layout and comments, and whichever Python reads it."""
    try:
        tokens = [token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type not in _DROPPED]
    except (tokenize.TokenError, SyntaxError) as cause:
        raise DefinitionError(f"{place}: its source cannot be read: {cause}", hint="write it with def, on lines of its own") from cause
    start = next((number for number, token in enumerate(tokens) if token.string == "def" and token.type == tokenize.NAME), None)
    if start is None:
        raise DefinitionError(f"{place}: a function without def", hint="write it with def; for a formula, ml.col needs no function")
    tokens = tokens[start:]
    body = next((number for number, token in enumerate(tokens) if token.type == tokenize.INDENT), len(tokens))
    if [token.type for token in tokens[body + 1 : body + 3]] == [tokenize.STRING, tokenize.NEWLINE]:
        del tokens[body + 1 : body + 3]  # the docstring
    lines = source.splitlines(keepends=True)
    depth, begin = 0, (0, 0)
    for token in tokens:
        kind = tokenize.tok_name[token.type]
        # Since Python 3.12 a formatted text is several tokens; here it is one, as before.
        if kind == "FSTRING_START":
            depth, begin = depth + 1, begin if depth else token.start
        elif kind == "FSTRING_END":
            depth -= 1
            if not depth:
                yield _between(lines, begin, token.end)
        elif not depth:
            yield kind if token.type in _WIDTHLESS else token.string


def _between(lines: list[str], begin: tuple[int, int], end: tuple[int, int]) -> str:
    if begin[0] == end[0]:
        return lines[begin[0] - 1][begin[1] : end[1]]
    inside = lines[begin[0] : end[0] - 1]
    return "".join([lines[begin[0] - 1][begin[1] :], *inside, lines[end[0] - 1][: end[1]]])
