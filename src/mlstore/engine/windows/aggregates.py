"""Aggregates: the one function from events and moments to the outputs of a window view, and what it shares with tiles that are kept.

Pure, and the same whoever asks. Groups are worked through by several threads; a group is never cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from mlstore._core.windows import fold
from mlstore.engine.parallel import in_parallel
from mlstore.engine.windows.knowledge import as_known
from mlstore.engine.windows.maps import split_by
from mlstore.engine.windows.measures import NEEDS, finish, lay_out, read_measures
from mlstore.engine.windows.plan import EventRows, MomentRows, WindowPlan, condition_of, without_gaps
from mlstore.engine.windows.runs import answer_runs
from mlstore.engine.windows.stretches import Held, Stretch, find_held
from mlstore.schema.outputs import Output
from mlstore.schema.window import Window

PART_ROWS = 1 << 17  # events and moments worked on at a time: what they need stays in the cache


def aggregate(plan: WindowPlan, events: EventRows, moments: MomentRows) -> list[pa.Array]:
    """The outputs of a plan, a row for each moment.

    InvalidDataError: a sum of integers that does not fit 64 bits.
    """
    if len(moments.known):
        parts = [_answer(plan, stretch) for stretch in as_known(plan, events, moments)]
    else:
        stretches = list(_cut(events, moments))
        parts = in_parallel([partial(_answer, plan, stretch) for stretch in stretches], len(events.time) + len(moments.time))
    return [without_gaps([part[number] for part in parts], output.dtype.arrow) for number, output in enumerate(plan.outputs)]


def _cut(events: EventRows, moments: MomentRows) -> Iterator[Stretch]:
    """Groups side by side, as many as make a good piece of work."""
    work = events.offsets + moments.offsets
    groups, first = len(work) - 1, 0
    while first < groups:
        last = int(np.searchsorted(work, work[first] + PART_ROWS, "right")) - 1
        last = min(groups, max(first + 1, last))
        rows = slice(int(events.offsets[first]), int(events.offsets[last]))
        asked = slice(int(moments.offsets[first]), int(moments.offsets[last]))
        columns = {name: column.slice(rows.start, rows.stop - rows.start) for name, column in events.columns.items()}
        yield Stretch(
            events.offsets[first : last + 1] - rows.start,
            events.time[rows],
            columns,
            moments.offsets[first : last + 1] - asked.start,
            moments.time[asked],
        )
        first = last


def _answer(plan: WindowPlan, stretch: Stretch) -> list[pa.Array]:
    answers: dict[str, pa.Array] = {}
    for outputs in _alike(plan.outputs):
        first = outputs[0]
        part = stretch if first.where is None else stretch.filtered(condition_of(first))
        windows = list(dict.fromkeys(output.window for output in outputs))
        held = find_held(plan, windows, part)
        if first.by is None:
            answers |= _answer_alike(plan, outputs, windows, held, part)
            continue
        split = split_by(part, first.by)
        held = split.held(held)
        for name, values in _answer_alike(plan, outputs, windows, held, split.stretch).items():
            place = windows.index(next(output.window for output in outputs if output.name == name))
            answers[name] = split.gather(values, held.begin[place], held.end[place])
    return [answers[output.name] for output in plan.outputs]


def _alike(outputs: Sequence[Output]) -> list[list[Output]]:
    """Outputs that look at the same events, together."""
    groups: dict[tuple[str | None, str], list[Output]] = {}
    for output in outputs:
        told = "" if output.where is None else repr(condition_of(output).to_record())
        groups.setdefault((output.by, told), []).append(output)
    return list(groups.values())


def _answer_alike(
    plan: WindowPlan, outputs: Sequence[Output], windows: Sequence[Window], held: Held, stretch: Stretch
) -> dict[str, pa.Array]:
    """The answers of outputs over one stretch, by name."""
    merging = [output for output in outputs if output.function in NEEDS]
    answers: dict[str, pa.Array] = {}
    if merging:
        layout = lay_out(plan, merging, filtered=True)
        measures, ordered = read_measures(layout.asked, stretch.columns, len(stretch.time))
        states = np.empty((len(windows), layout.words, len(stretch.moment_time)), np.int64)
        fold(
            stretch.offsets,
            stretch.time,
            measures,
            plan.widths,
            stretch.moment_offsets,
            held.low,
            held.high,
            held.begin,
            held.end,
            layout.wanted(merging, windows),
            states,
        )
        for output in merging:
            asked, words = layout.state(output, states[windows.index(output.window)])
            answers[output.name] = finish(plan, output, asked, words, ordered)
    others = [output for output in outputs if output.function not in NEEDS]
    return answers | answer_runs(plan, others, windows, held, stretch)
