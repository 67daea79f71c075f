"""Reading tiles: what windows hold at one moment for some keys, from a handful of nodes of each, however many events there are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mlstore._core.tiles import build_tiles
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
from mlstore.engine.windows.tilekeeping import NodesOfKey, Watch
from mlstore.engine.windows.tiles import TILES, Flags, Kept, Node, TilePlan, contiguous, decode_node, join_kept, node_key, tile_plan
from mlstore.format.keys import Factorized
from mlstore.format.keyvector import decode_int
from mlstore.schema.outputs import Output
from mlstore.storage.transaction import Reader

FEW_ROOTS = 16  # up to this many are looked up one by one


@dataclass(slots=True)
class Found:
    """Tiles (of each level) and events gathered for one key, in stretches: where each begins, first ticks, records."""

    tiles: list[list[tuple[int, Int64, Int64]]]
    events: list[tuple[int, Kept]]


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
        nodes = None if key is None else NodesOfKey(context.reader, self.plan, self.plan.prefix(context.scope.line), key)
        found = _gather(self.plan, nodes, spans)
        tiles, _, events = _laid(self.plan, [found])
        values = self.single.from_records(spans, tiles, np.ascontiguousarray(events.time), contiguous(self.plan.measures(events)))
        return {output.name: value for output, value in zip(self.kept, values, strict=True)}


def live_plan(context: ReadContext, relation: Relation, numbers: Sequence[int]) -> LivePlan | None:
    """What answers these outputs from tiles; None: tiles do not serve here and now."""
    ready = relation.remember(("live", tuple(numbers)), lambda: (_live_plan(relation, numbers),))[0]
    return ready if ready is not None and ready.watch.is_live(context) else None


def _live_plan(relation: Relation, numbers: Sequence[int]) -> LivePlan | None:
    plan = tile_plan(relation)
    return None if plan is None else LivePlan(relation, numbers, plan)


def answer_live_key(context: ReadContext, relation: Relation, numbers: Sequence[int], asked: Factorized, moment: int) -> list[Any] | None:
    """What a window view answers for one key at one moment, from tiles as far as they go; None: they do not serve here."""
    ready = live_plan(context, relation, numbers)
    if ready is None:
        return None
    answers = ready.answer_kept(context, asked.keys.encoded_at(0) if len(asked.keys) else None, moment)
    answers |= {name: column[0].as_py() for name, column in ready.answer_others(context, asked, moment).items()}
    return [answers[output.name] for output in ready.outputs]


def answer_live(context: ReadContext, relation: Relation, numbers: Sequence[int], asked: Factorized, moment: int) -> list[pa.Array] | None:
    """The same for many keys, a row per code, as columns."""
    ready = live_plan(context, relation, numbers) if len(asked.keys) <= limits.TILE_KEYS else None
    if ready is None:
        return None
    answers = ready.answer_others(context, asked, moment)
    if ready.kept:
        # Who has a null key is answered as a key without events.
        codes = pa.array(np.where(asked.codes < 0, len(asked.keys), asked.codes))
        found = answer_from_tiles(context.reader, ready.plan, context.scope.line, [*asked.keys.encoded(), None], moment, ready.kept)
        answers |= {output.name: column.take(codes) for output, column in zip(ready.kept, found, strict=True)}
    return [answers[output.name] for output in ready.outputs]


def answer_from_tiles(
    reader: Reader, plan: TilePlan, line: int, keys: Sequence[bytes | None], moment: int, outputs: Sequence[Output]
) -> list[pa.Array]:
    """These outputs, which must be among those that tiles keep, for each key (as it stands in the file; None: none) at one moment."""
    windows = list(dict.fromkeys(output.window for output in outputs))
    times = np.array([moment], np.int64)
    spans = [(int(low[0]), int(high[0])) for low, high in (plan.plan.interval(window, times) for window in windows)]
    states = np.empty((len(windows), plan.words, len(keys)), np.int64)
    found = [_gather(plan, None if key is None else NodesOfKey(reader, plan, plan.prefix(line), key), spans) for key in keys]
    low, high = (np.repeat(np.array([span[end] for span in spans], np.int64)[:, None], len(keys), 1) for end in (0, 1))
    _fold(plan, found, low, high, plan.layout.wanted(list(outputs), windows), states)
    answers = []
    for output in outputs:
        asked, words = plan.layout.state(output, states[windows.index(output.window)])
        answers.append(finish(plan.plan, output, asked, words, {}))
    return answers


def _fold(plan: TilePlan, found: Sequence[Found], low: Int64, high: Int64, wanted: Flags, states: Int64) -> None:
    tiles, event_offsets, events = _laid(plan, found)
    fold_stored(
        contiguous(plan.measures(events)),
        plan.plan.widths,
        tiles.offsets,
        tiles.start,
        tiles.records,
        event_offsets,
        np.ascontiguousarray(events.time),
        np.arange(len(found)),
        np.ascontiguousarray(low),
        np.ascontiguousarray(high),
        wanted,
        states,
    )


def _laid(plan: TilePlan, found: Sequence[Found]) -> tuple[KeptTiles, Int64, Kept]:
    """What was gathered for some keys, as the kernels take it."""
    offsets = np.zeros((plan.root, len(found) + 1), np.int64)
    starts, records, place = [], [], 0
    for level in range(plan.root):
        offsets[level, 0] = place
        for number, one in enumerate(found, start=1):
            for _, part, rows in sorted(one.tiles[level], key=_first):
                place += len(part)
                starts.append(part)
                records.append(rows)
            offsets[level, number] = place
    counts = [0]
    events = []
    for one in found:
        events += [part for _, part in sorted(one.events, key=_first)]
        counts.append(counts[-1] + sum(len(part) for _, part in one.events))
    tiles = KeptTiles(
        offsets,
        np.concatenate(starts) if starts else np.empty(0, np.int64),
        np.concatenate(records) if records else np.empty((0, plan.words), np.int64),
    )
    return tiles, np.array(counts, np.int64), join_kept(events or [plan.nothing])


def _first(part: tuple[Any, ...]) -> int:
    return int(part[0])


def _gather(plan: TilePlan, nodes: NodesOfKey | None, spans: Sequence[tuple[int, int]]) -> Found:
    found = Found([[] for _ in range(plan.root)], [])
    spans = [span for span in spans if span[0] <= span[1]]
    if nodes is None or not spans:
        return found
    first, last = min(low for low, _ in spans), max(high for _, high in spans)
    edges = sorted({low for low, _ in spans} | {high + 1 for _, high in spans})
    leaves: dict[int, list[tuple[int, Kept]]] = {}
    for start, node in _roots(nodes, first, last):
        _visit(nodes, node, start, edges, found, leaves)
    for level, parts in leaves.items():
        found.events += parts
        if level:
            _add_tiles(plan, level, parts, found)
    return found


def _roots(nodes: NodesOfKey, first: int, last: int) -> Iterator[tuple[int, Node]]:
    plan = nodes.plan
    start, width = plan.start_of(plan.root, first), plan.widths[plan.root]
    if first > FIRST_TICK and (last - start) // width < FEW_ROOTS:
        while start <= last:
            node = nodes.get(plan.root, start)
            if node is not None:
                yield start, node
            start += width
        return
    head = nodes.prefix + nodes.key
    stop = node_key(nodes.prefix, nodes.key, plan.root, last) + b"\0"
    for key, packed in nodes.reader.scan(TILES, start=node_key(nodes.prefix, nodes.key, plan.root, start), stop=stop):
        yield decode_int(key[len(head) + 1 :]), decode_node(plan, packed)


def _visit(
    nodes: NodesOfKey, node: Node, start: int, edges: Sequence[int], found: Found, leaves: dict[int, list[tuple[int, Kept]]]
) -> None:
    """Take what a node tells; go on to those of its children that a window begins or ends within."""
    if node.events is not None:
        leaves.setdefault(node.level, []).append((start, node.events))
        return
    plan, level = nodes.plan, node.level - 1
    found.tiles[level].append((start, node.starts, node.records))
    width, behind = plan.widths[level], start + plan.widths[node.level]
    inside = {edge // width * width for edge in edges if start <= edge < behind and edge % width}
    for child in sorted(inside):
        inner = nodes.get(level, child)
        if inner is not None:
            _visit(nodes, inner, child, edges, found, leaves)


def _add_tiles(plan: TilePlan, level: int, parts: Sequence[tuple[int, Kept]], found: Found) -> None:
    """The tiles that lie in the stretches of leaves of one level, which nobody keeps."""
    events = join_kept([part for _, part in parts])
    cuts = np.cumsum([0, *(len(part) for _, part in parts)])
    widths = np.array(plan.widths[:level], np.int64)
    offsets, starts, records = build_tiles(cuts, np.ascontiguousarray(events.time), contiguous(plan.measures(events)), widths)
    for lower, bounds in enumerate(offsets.tolist()):
        for number, (start, _) in enumerate(parts):
            part = slice(bounds[number], bounds[number + 1])
            found.tiles[lower].append((start, starts[part], records[part]))
