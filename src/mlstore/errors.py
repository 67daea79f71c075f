"""What can go wrong, grouped by what the caller would do about it.

MlstoreError
|- UsageError (ValueError)             mend the call; the command line exits with 2
|  |- DefinitionError                  an entity, view, table or service that makes no sense
|  |- SchemaMismatchError              data that does not fit the definition: a column missing, or of the wrong type
|  |- InvalidDataError                 a value that cannot be stored: null key, unparsable or overflowing time, over-long key
|  |- NameClashError                   two outputs of one name
|  |- UnknownNameError (KeyError)      no such view, feature, entity, table, service
|  |- UnknownVersionError (KeyError)   no such snapshot, branch, commit or time
|  |- AlreadyExistsError               the name is taken
|  |- LeakageError                     labels would be given what was not yet known at their time
|  |- ReproductionError                a training set that cannot be made anew
|  |- ComputationError                 the function of an on-demand view failed, or gave what it did not declare
|  |- FunctionMissingError (LookupError)  the function of an on-demand view is not loaded, or has changed
|  |- MergeConflictError               both sides changed the same cell; choose a strategy
|  `- ReadOnlyError (PermissionError)  a write through a handle that only reads
`- StoreError (OSError)                mend the surroundings: path, disk, permission, program version; the command line exits with 1
   |- NotAStoreError                   the file is something else
   |- FormatVersionError               the file was written by a newer mlstore
   |- StoreFullError                   no room left on the disk or in the map
   |- StoreBusyError                   too many readers, or a lock that does not come
   |- ClosedError                      the handle is closed
   `- CorruptionError                  the bytes are not what was written; restore a backup

Each error has a stable `kind` (for programs) and a `hint` (the cure, for people).
"""

from collections.abc import Mapping
from typing import Any


class MlstoreError(Exception):
    """Base of all errors of this package: `kind` is stable, `hint` says what to do."""

    kind = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(MlstoreError, ValueError):
    """The call was wrong."""

    kind = "usage"


class DefinitionError(UsageError):
    """A definition that makes no sense."""

    kind = "definition"


class SchemaMismatchError(UsageError):
    """Data whose columns or types do not fit the definition."""

    kind = "schema_mismatch"


class InvalidDataError(UsageError):
    """A value that cannot be stored."""

    kind = "invalid_data"


class NameClashError(UsageError):
    """Two outputs of one name."""

    kind = "name_clash"


class UnknownNameError(UsageError, KeyError):
    """No such view, feature, entity, table or service."""

    kind = "unknown_name"


class UnknownVersionError(UsageError, KeyError):
    """No such snapshot, branch, commit or time."""

    kind = "unknown_version"


class AlreadyExistsError(UsageError):
    """The name is taken."""

    kind = "already_exists"


class LeakageError(UsageError):
    """Label rows would be given values that were not yet known at their time; `rows` counts them by view."""

    kind = "leakage"

    def __init__(self, message: str, *, hint: str = "", rows: Mapping[str, int] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.rows = dict(rows or {})


class LeakageWarning(UserWarning):
    """Label rows were given values that were not yet known at their time."""


class ReproductionError(UsageError):
    """A training set cannot be made anew; the message says what is missing."""

    kind = "reproduction"


class ComputationError(UsageError):
    """The function of an on-demand view failed, or gave what it did not declare; the cause is chained."""

    kind = "computation"


class FunctionMissingError(UsageError, LookupError):
    """The function of an on-demand view is not loaded in this process, or is not the one that was registered."""

    kind = "function_missing"


class MergeConflictError(UsageError):
    """Both sides changed the same: `conflicts` is a pyarrow.Table with a row for each cell, row or definition."""

    kind = "merge_conflict"

    def __init__(self, message: str, *, hint: str = "", conflicts: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.conflicts = conflicts


class ReadOnlyError(UsageError, PermissionError):
    """A write through a handle that only reads."""

    kind = "read_only"


class StoreError(MlstoreError, OSError):
    """The file or its surroundings refuse."""

    kind = "store"


class NotAStoreError(StoreError):
    """The path holds something else."""

    kind = "not_a_store"


class FormatVersionError(StoreError):
    """The file was written by a newer mlstore."""

    kind = "format_version"


class StoreFullError(StoreError):
    """No room left."""

    kind = "store_full"


class StoreBusyError(StoreError):
    """Too many readers, or a lock that does not come."""

    kind = "store_busy"


class ClosedError(StoreError):
    """The handle is closed."""

    kind = "closed"


class CorruptionError(StoreError):
    """The bytes are not what was written."""

    kind = "corruption"
