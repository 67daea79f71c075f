"""mlstore: data goes in once, and can be asked three ways: now, then, and as it was; one file holds it all.

>>> import mlstore as ml
>>> store = ml.open(":memory:")
"""

from mlstore.engine.asking.explanation import Explanation
from mlstore.engine.asking.keyrange import OnlineRows
from mlstore.engine.asking.reader import OnlineReader
from mlstore.engine.asking.reading import Rows
from mlstore.engine.asking.skew import SkewReport
from mlstore.engine.branching.branches import Branch, RefMove
from mlstore.engine.branching.diff import Diff, TableDiff
from mlstore.engine.catalog import CatalogEntry
from mlstore.engine.joining.asof_join import asof_join
from mlstore.engine.keeping.forensics import DumpedRecord
from mlstore.engine.keeping.freshness import Freshness, ViewFreshness
from mlstore.engine.keeping.inspection import VerifyReport
from mlstore.engine.keeping.salvaging import SalvageReport
from mlstore.engine.lineage import CatalogEntries, Edge, Lineage
from mlstore.engine.writing.consumers import ConsumerState
from mlstore.engine.writing.consuming import Refused, Source, SourceBatch
from mlstore.engine.writing.registration import Change, Plan
from mlstore.errors import (
    AlreadyExistsError,
    ClosedError,
    ComputationError,
    CorruptionError,
    DefinitionError,
    FormatVersionError,
    FunctionMissingError,
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
from mlstore.schema.aggregation import Aggregation, agg
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
from mlstore.schema.expression import Expression, coalesce, col, greatest, least, lit, where
from mlstore.schema.ondemand import OnDemandView, on_demand
from mlstore.schema.record import from_record, to_record
from mlstore.schema.reference import Reference, ref
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.schema.window import Window, hopping, last_rows, session, tumbling
from mlstore.schema.window_view import WindowView
from mlstore.store import Store, dump, open, salvage
from mlstore.version import __version__

__all__ = [
    "Aggregation",
    "AlreadyExistsError",
    "Branch",
    "CatalogEntries",
    "CatalogEntry",
    "Change",
    "ClosedError",
    "Commit",
    "ComputationError",
    "ConsumerState",
    "CorruptionError",
    "DType",
    "DefinitionError",
    "Diff",
    "DumpedRecord",
    "Edge",
    "Entity",
    "Explanation",
    "Expression",
    "FeatureService",
    "FeatureView",
    "FormatVersionError",
    "Freshness",
    "FunctionMissingError",
    "InvalidDataError",
    "LeakageError",
    "LeakageWarning",
    "Lineage",
    "MergeConflictError",
    "MlstoreError",
    "NameClashError",
    "NotAStoreError",
    "OnDemandView",
    "OnlineReader",
    "OnlineRows",
    "Plan",
    "ReadOnlyError",
    "RefMove",
    "Reference",
    "Refused",
    "ReproductionError",
    "Rows",
    "SalvageReport",
    "SchemaMismatchError",
    "SkewReport",
    "Source",
    "SourceBatch",
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
    "Window",
    "WindowView",
    "__version__",
    "agg",
    "asof_join",
    "binary",
    "bool_",
    "coalesce",
    "col",
    "date",
    "decimal",
    "dump",
    "float32",
    "float64",
    "from_record",
    "greatest",
    "hopping",
    "int8",
    "int16",
    "int32",
    "int64",
    "last_rows",
    "least",
    "list_",
    "lit",
    "map_",
    "on_demand",
    "open",
    "ref",
    "salvage",
    "session",
    "string",
    "struct",
    "timestamp",
    "to_record",
    "tumbling",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "vector",
    "where",
]
