"""Definitions from a Python file: the file is run, and what it defines at its top level is taken, in order."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import mlstore as ml

# The file runs under this name, so that it is neither __main__ nor in the way of a module of the same name.
MODULE_NAME = "mlstore_definitions"

DEFINITIONS = (ml.Entity, ml.FeatureView, ml.WindowView, ml.Table, ml.FeatureService)


def load_definitions(path: Path) -> list[Any]:
    """The Entity, FeatureView, WindowView, Table and FeatureService objects at the top level of the file."""
    module = _run_file(path)
    found = {id(value): value for value in vars(module).values() if isinstance(value, DEFINITIONS)}
    if not found:
        raise ml.DefinitionError(
            f"{path}: nothing is defined at the top level",
            hint="assign ml.Entity, ml.FeatureView, ml.WindowView, ml.Table or ml.FeatureService to names",
        )
    return list(found.values())


def _run_file(path: Path) -> ModuleType:
    source = path.read_bytes()
    module = ModuleType(MODULE_NAME)
    module.__file__ = str(path)
    with _importable(module, path):
        try:
            exec(compile(source, str(path), "exec"), vars(module))  # the user's own file
        except SyntaxError as error:
            raise ml.DefinitionError(
                f"{error.filename or path}:{error.lineno}: {error.msg}", hint="definitions are plain Python"
            ) from error
        except (Exception, SystemExit) as error:
            raise _broken(path, error) from error
    return module


@contextmanager
def _importable(module: ModuleType, path: Path) -> Iterator[None]:
    """While the file runs, it is a module, and finds its neighbours."""
    folder = str(path.resolve().parent)
    sys.modules[MODULE_NAME] = module
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        del sys.modules[MODULE_NAME]


def _broken(path: Path, error: BaseException) -> ml.DefinitionError:
    """One sentence: the last line of the file that was running, and why it stopped."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f"{path}:{lines[-1]}" if lines else str(path)
    if isinstance(error, ml.MlstoreError):
        return ml.DefinitionError(f"{place}: {error.message}", hint=error.hint)
    reason = " ".join(str(error).split())
    return ml.DefinitionError(f"{place}: {type(error).__name__}{f': {reason}' if reason else ''}", hint="mend that line and apply again")
