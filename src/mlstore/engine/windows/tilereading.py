"""Reading tiles: what windows hold at one moment for some keys, from a handful of nodes of each, however many events there are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from mlstore._core.tiles import build_tiles
from mlstore._core.windows import fold_stored
from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import NO_NUMBERS, Int64
from mlstore.engine.session import ReadContext
from mlstore.engine.windows.answering import WindowQuestions, answer_windows, plan_of
from mlstore.engine.windows.measures import finish, is_kept
from mlstore.engine.windows.plan import FIRST_TICK, LAST_TICK
from mlstore.engine.windows.tilekeeping import NodesOfKey, live_mark
from mlstore.engine.windows.tiles import TILES, Kept, Node, TilePlan, decode_node, join_kept, node_key, tile_plan
from mlstore.format.keys import Factorized
from mlstore.schema.outputs import Output
from mlstore.storage.transaction import Reader


@dataclass(slots=True)
class Found:
    """Tiles and events gathered for one key: of each level starts and records in order, and events."""

    starts: list[list[Int64]]
    records: list[list[Int64]]
    events: list[Kept] = field(default_factory=list)


def answer_live(context: ReadContext, relation: Relation, numbers: Sequence[int], asked: Factorized, moment: int) -> list[pa.Array] | None:
    """What a window view answers at one moment, a row per code, from tiles as far as they go; None: they do not serve here."""
    plan = tile_plan(relation)
    if plan is None or len(asked.keys) > limits.TILE_KEYS:
        return None
    mark = live_mark(context, plan)
    if mark is None or mark.until is not None:
        return None
    outputs = plan_of(relation, numbers).outputs
    kept = [output for output in outputs if is_kept(plan.plan, output)]
    others = [number for number, output in zip(numbers, outputs, strict=True) if not is_kept(plan.plan, output)]
    answers = {}
    if kept:
        # Who has a null key is answered as a key without events.
        codes = pa.array(np.where(asked.codes < 0, len(asked.keys), asked.codes))
        found = answer_from_tiles(context.reader, plan, context.scope.line, [*asked.keys.encoded(), None], moment, kept)
        answers = {output.name: column.take(codes) for output, column in zip(kept, found, strict=True)}
    if others:
        questions = WindowQuestions(asked.keys, asked.codes, np.full(len(asked.codes), moment, np.int64), NO_NUMBERS)
        columns = answer_windows(context.history(plan.source.relation), relation, others, questions).columns
        answers |= {relation.layout.features[number].name: column for number, column in zip(others, columns, strict=True)}
    return [answers[output.name] for output in outputs]


def answer_from_tiles(
    reader: Reader, plan: TilePlan, line: int, keys: Sequence[bytes | None], moment: int, outputs: Sequence[Output]
) -> list[pa.Array]:
    """These outputs, which must be among those that tiles keep, for each key (as it stands in the file; None: none) at one moment."""
    windows = list(dict.fromkeys(output.window for output in outputs))
    times = np.array([moment], np.int64)
    spans = [(int(low[0]), int(high[0])) for low, high in (plan.plan.interval(window, times) for window in windows)]
    states = np.empty((len(windows), plan.layout.words, len(keys)), np.int64)
    found = [_gather(plan, None if key is None else NodesOfKey(reader, plan, plan.prefix(line), key), spans) for key in keys]
    low, high = (np.repeat(np.array([span[end] for span in spans], np.int64)[:, None], len(keys), 1) for end in (0, 1))
    _fold(plan, found, low, high, plan.layout.wanted(list(outputs), windows), states)
    answers = []
    for output in outputs:
        asked, words = plan.layout.state(output, states[windows.index(output.window)])
        answers.append(finish(plan.plan, output, asked, words, {}))
    return answers


def _fold(plan: TilePlan, found: Sequence[Found], low: Int64, high: Int64, wanted: np.ndarray, states: Int64) -> None:
    depth = plan.root
    offsets = np.zeros((depth, len(found) + 1), np.int64)
    starts, records, place = [], [], 0
    for level in range(depth):
        offsets[level, 0] = place
        for number, one in enumerate(found, start=1):
            place += sum(map(len, one.starts[level]))
            offsets[level, number] = place
            starts += one.starts[level]
            records += one.records[level]
    counts = [sum(map(len, one.events)) for one in found]
    events = join_kept([part for one in found for part in one.events] or [plan.nothing])
    fold_stored(
        [(kind, mask, np.ascontiguousarray(words), np.ascontiguousarray(flags)) for kind, mask, words, flags in plan.measures(events)],
        plan.plan.widths,
        offsets,
        np.concatenate(starts) if starts else np.empty(0, np.int64),
        np.concatenate(records) if records else np.empty((0, plan.layout.words), np.int64),
        np.append(0, np.cumsum(counts)).astype(np.int64),
        np.ascontiguousarray(events.time),
        np.arange(len(found)),
        np.ascontiguousarray(low),
        np.ascontiguousarray(high),
        wanted,
        states,
    )


def _gather(plan: TilePlan, nodes: NodesOfKey | None, spans: Sequence[tuple[int, int]]) -> Found:
    found = Found([[] for _ in range(plan.root)], [[] for _ in range(plan.root)])
    spans = [span for span in spans if span[0] <= span[1]]
    if nodes is None or not spans:
        return found
    first, last = min(low for low, _ in spans), max(high for _, high in spans)
    edges = sorted({low for low, _ in spans} | {high + 1 for _, high in spans})
    for start, node in _roots(nodes, first, last):
        _visit(nodes, node, start, edges, found)
    return found


def _roots(nodes: NodesOfKey, first: int, last: int) -> Iterator[tuple[int, Node]]:
    plan = nodes.plan
    start, width = plan.start_of(plan.root, first), plan.widths[plan.root]
    if first > FIRST_TICK and (last - start) // width < 16:
        while start <= last:
            node = nodes.get(plan.root, start)
            if node is not None:
                yield start, node
            start += width
        return
    head = nodes.prefix + nodes.key
    stop = node_key(nodes.prefix, nodes.key, plan.root, last) + b"\0"
    for key, packed in nodes.reader.scan(TILES, start=node_key(nodes.prefix, nodes.key, plan.root, start), stop=stop):
        yield int.from_bytes(key[len(head) + 1 :], "big") - (1 << 63), decode_node(plan, packed)


def _visit(nodes: NodesOfKey, node: Node, start: int, edges: Sequence[int], found: Found) -> None:
    """Take what a node tells; go on to those of its children that a window begins or ends within."""
    plan = nodes.plan
    if node.events is not None:
        _take_leaf(plan, node, found)
        return
    level = node.level - 1
    found.starts[level].append(node.starts)
    found.records[level].append(node.records)
    width = plan.widths[level]
    for child in dict.fromkeys(
        plan.start_of(level, edge) for edge in edges if start <= edge <= min(LAST_TICK, start + plan.widths[node.level] - 1)
    ):
        if child in edges and not any(child < edge <= child + width - 1 for edge in edges):
            continue
        inner = nodes.get(level, child)
        if inner is not None:
            _visit(nodes, inner, child, edges, found)


def _take_leaf(plan: TilePlan, node: Node, found: Found) -> None:
    """The events of a leaf, and the tiles that lie in its stretch, which nobody keeps."""
    assert node.events is not None
    events = node.events
    found.events.append(events)
    if not node.level:
        return
    measures = [
        (kind, mask, np.ascontiguousarray(words), np.ascontiguousarray(flags)) for kind, mask, words, flags in plan.measures(events)
    ]
    widths = np.array(plan.widths[: node.level], np.int64)
    offsets, starts, records = build_tiles(np.array([0, len(events)]), np.ascontiguousarray(events.time), measures, widths)
    for level in range(node.level):
        part = slice(int(offsets[level, 0]), int(offsets[level, 1]))
        found.starts[level].append(starts[part])
        found.records[level].append(records[part])
