"""Reading tiles: what windows hold at one moment for some keys, from a handful of nodes of each, however many events there are."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mlstore._core.nodes import lay_nodes
from mlstore._core.windows import fold_stored
from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import NO_NUMBERS, Int64
from mlstore.engine.session import ReadContext
from mlstore.engine.windows.answering import WindowQuestions, answer_windows, plan_of
from mlstore.engine.windows.kept import KeptTiles
from mlstore.engine.windows.measures import finish, is_kept
from mlstore.engine.windows.plan import FIRST_TICK
from mlstore.engine.windows.single import SinglePlan
from mlstore.engine.windows.tiles import CURE, TILES, Measure, TilePlan, has_children, tile_plan
from mlstore.engine.windows.tilewatching import GrownNodes, NodesOfKey, Watch
from mlstore.errors import CorruptionError
from mlstore.format.keys import Factorized
from mlstore.format.keyvector import encode_int
from mlstore.schema.outputs import Output
from mlstore.storage.transaction import Reader

FEW_ROOTS = 16  # up to this many are looked up one by one


class LivePlan:
    """Some outputs of a window view made ready to be answered from tiles: those that tiles keep, and the others."""

    def __init__(self, relation: Relation, numbers: Sequence[int], plan: TilePlan) -> None:
        self.relation = relation
        self.plan = plan
        self.watch = Watch(plan)
        self.outputs = plan_of(relation, numbers).outputs
        self.kept = [output for output in self.outputs if is_kept(plan.plan, output)]
        self.others = [number for number, output in zip(numbers, self.outputs, strict=True) if not is_kept(plan.plan, output)]
        self.single = SinglePlan(plan.plan, self.kept) if self.kept else None

    def answer_others(self, context: ReadContext, asked: Factorized, moment: int) -> dict[str, pa.Array]:
        """What tiles do not keep, from the events."""
        if not self.others:
            return {}
        questions = WindowQuestions(asked.keys, asked.codes, np.full(len(asked.codes), moment, np.int64), NO_NUMBERS)
        columns = answer_windows(context.history(self.plan.source.relation), self.relation, self.others, questions).columns
        return {self.relation.layout.features[number].name: column for number, column in zip(self.others, columns, strict=True)}

    def answer_kept(self, context: ReadContext, key: bytes | None, moment: int) -> dict[str, Any]:
        """What tiles keep of one key (None: a null one), as Python values."""
        if self.single is None:
            return {}
        spans = self.single.spans(moment)
        nodes = None if key is None else NodesOfKey(self.watch.nodes(context, [key]), self.plan, self.plan.prefix(context.scope.line), key)
        *tiles, time, measures = lay(self.plan, [] if nodes is None else list(nodes_at(nodes, spans)))
        values = self.single.from_records(spans, KeptTiles(*tiles), time, measures)
        return {output.name: value for output, value in zip(self.kept, values, strict=True)}


def live_plan(context: ReadContext, relation: Relation, numbers: Sequence[int]) -> LivePlan | None:
    """What answers these outputs from tiles; None: tiles do not serve here and now."""
    ready = relation.remember(("live", tuple(numbers)), lambda: (_live_plan(relation, numbers),))[0]
    return ready if ready is not None and ready.watch.is_right(context) else None


def _live_plan(relation: Relation, numbers: Sequence[int]) -> LivePlan | None:
    plan = tile_plan(relation)
    return None if plan is None else LivePlan(relation, numbers, plan)


def answer_live(context: ReadContext, relation: Relation, numbers: Sequence[int], asked: Factorized, moment: int) -> list[pa.Array] | None:
    """What a window view answers at one moment, a row per code, from tiles as far as they go; None: they do not serve here."""
    ready = live_plan(context, relation, numbers) if len(asked.keys) <= limits.TILE_KEYS else None
    if ready is None:
        return None
    answers = ready.answer_others(context, asked, moment)
    if ready.kept:
        # Who has a null key is answered as a key without events.
        codes = pa.array(np.where(asked.codes < 0, len(asked.keys), asked.codes))
        keys = [*asked.keys.encoded(), None]
        found = answer_from_tiles(ready.watch.nodes(context, keys), ready.plan, context.scope.line, keys, moment, ready.kept)
        answers |= {output.name: column.take(codes) for output, column in zip(ready.kept, found, strict=True)}
    return [answers[output.name] for output in ready.outputs]


def answer_from_tiles(
    reader: Reader | GrownNodes, plan: TilePlan, line: int, keys: Sequence[bytes | None], moment: int, outputs: Sequence[Output]
) -> list[pa.Array]:
    """These outputs, which must be among those that tiles keep, for each key (as it stands in the file; None: none) at one moment."""
    windows = list(dict.fromkeys(output.window for output in outputs))
    spans = [plan.plan.interval_at(window, moment) for window in windows]
    low, high = (np.array([[span[end]] for span in spans], np.int64) for end in (0, 1))
    wanted, which = plan.layout.wanted(list(outputs), windows), np.zeros(1, np.int64)
    states = np.empty((len(keys), len(windows), plan.words, 1), np.int64)
    for key, of_key in zip(keys, states, strict=True):
        nodes = None if key is None else NodesOfKey(reader, plan, plan.prefix(line), key)
        offsets, starts, records, time, measures = lay(plan, [] if nodes is None else list(nodes_at(nodes, spans)))
        events = np.array([0, len(time)])
        fold_stored(measures, plan.plan.widths, offsets, starts, records, events, time, which, low, high, wanted, of_key)
    answers = []
    for output in outputs:
        asked, words = plan.layout.state(output, np.ascontiguousarray(states[:, windows.index(output.window), :, 0].T))
        answers.append(finish(plan.plan, output, asked, words, {}))
    return answers


def lay(plan: TilePlan, packed: Sequence[bytes]) -> tuple[Int64, Int64, Int64, Int64, list[Measure]]:
    """Nodes of one key as the kernels take them."""
    try:
        return lay_nodes(packed, plan.asked, plan.plan.widths)
    except ValueError as error:
        raise CorruptionError(f"a tile of {plan.relation.label} makes no sense: {error}", hint=CURE) from error


def nodes_at(nodes: NodesOfKey, spans: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """The nodes that a window begins or ends within, and the roots of all that lies between.

    Which these are is known before any of them is, but below roots that are leaves there are none to look up.
    """
    spans = [span for span in spans if span[0] <= span[1]]
    if not spans:
        return
    plan, head = nodes.plan, nodes.prefix + nodes.key
    first, last = min(low for low, _ in spans), max(high for _, high in spans)
    edges = {low for low, _ in spans} | {high + 1 for _, high in spans}
    start, width = plan.start_of(plan.root, first), plan.widths[plan.root]
    top = head + plan.root.to_bytes()
    if start > FIRST_TICK and (last - start) // width < FEW_ROOTS:
        roots = nodes.reader.get_many(TILES, [top + encode_int(root) for root in range(start, last + 1, width)])
    else:
        roots = [packed for _, packed in nodes.reader.scan(TILES, start=top + encode_int(start), stop=top + encode_int(last) + b"\0")]
    found = [packed for packed in roots if packed is not None]
    yield from found
    if not any(map(has_children, found)):
        return
    wanted: list[bytes] = []
    for level in range(plan.root - 1, -1, -1):
        width, top = plan.widths[level], head + level.to_bytes()
        ticks = {edge - into for edge in edges if (into := edge % width)}
        wanted += [top + encode_int(tick if tick > FIRST_TICK else FIRST_TICK) for tick in ticks]
    yield from (packed for packed in nodes.reader.get_many(TILES, wanted) if packed is not None)
