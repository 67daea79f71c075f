"""mlstore: data goes in once, and can be asked three ways: now, then, and as it was; one file holds it all.

>>> import mlstore as ml
>>> store = ml.open(":memory:")
"""

from mlstore.engine.asking.explain import Explanation
from mlstore.engine.asking.keyrange import OnlineRows
from mlstore.engine.asking.reader import OnlineReader
from mlstore.engine.asking.reading import Rows
from mlstore.engine.branching.branches import Branch, RefMove
from mlstore.engine.branching.diff import Diff, TableDiff
from mlstore.engine.catalog import CatalogEntry
from mlstore.engine.joining.asof_join import asof_join
from mlstore.engine.keeping.forensics import DumpedRecord
from mlstore.engine.keeping.freshness import Freshness, ViewFreshness
from mlstore.engine.keeping.inspection import VerifyReport
from mlstore.engine.keeping.salvaging import SalvageReport
from mlstore.engine.writing.registration import Change, Plan
from mlstore.errors import (
    AlreadyExistsError,
    ClosedError,
    CorruptionError,
    DefinitionError,
    FormatVersionError,
    InvalidDataError,
    LeakageError,
    LeakageWarning,
    MergeConflictError,
    MlstoreError,
    NameClashError,
    NotAStoreError,
    ReadOnlyError,
    ReproductionError,
    SchemaMismatchError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    UnknownNameError,
    UnknownVersionError,
    UsageError,
)
from mlstore.format.manifest import Commit
from mlstore.schema.dtypes import (
    DType,
    binary,
    bool_,
    date,
    decimal,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    list_,
    map_,
    string,
    struct,
    timestamp,
    uint8,
    uint16,
    uint32,
    uint64,
    vector,
)
from mlstore.schema.entity import Entity
from mlstore.schema.reference import Reference, ref
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.store import Store, dump, open, salvage
from mlstore.version import __version__

__all__ = [
    "AlreadyExistsError",
    "Branch",
    "CatalogEntry",
    "Change",
    "ClosedError",
    "Commit",
    "CorruptionError",
    "DType",
    "DefinitionError",
    "Diff",
    "DumpedRecord",
    "Entity",
    "Explanation",
    "FeatureService",
    "FeatureView",
    "FormatVersionError",
    "Freshness",
    "InvalidDataError",
    "LeakageError",
    "LeakageWarning",
    "MergeConflictError",
    "MlstoreError",
    "NameClashError",
    "NotAStoreError",
    "OnlineReader",
    "OnlineRows",
    "Plan",
    "ReadOnlyError",
    "RefMove",
    "Reference",
    "ReproductionError",
    "Rows",
    "SalvageReport",
    "SchemaMismatchError",
    "Store",
    "StoreBusyError",
    "StoreError",
    "StoreFullError",
    "Table",
    "TableDiff",
    "UnknownNameError",
    "UnknownVersionError",
    "UsageError",
    "VerifyReport",
    "ViewFreshness",
    "__version__",
    "asof_join",
    "binary",
    "bool_",
    "date",
    "decimal",
    "dump",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "list_",
    "map_",
    "open",
    "ref",
    "salvage",
    "string",
    "struct",
    "timestamp",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "vector",
]
