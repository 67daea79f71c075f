"""Reading tiles: what windows hold at one moment for some keys, from a handful of nodes of each, however many events there are."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mlstore._core.finishes import Finisher
from mlstore._core.walks import Trees, Walk
from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import NO_NUMBERS, Int64
from mlstore.engine.session import ReadContext
from mlstore.engine.windows.answering import WindowQuestions, answer_windows, plan_of
from mlstore.engine.windows.finishing import finisher_of
from mlstore.engine.windows.measures import finish, is_kept, refuse_overflow
from mlstore.engine.windows.tiles import TILES, TilePlan, tile_plan
from mlstore.engine.windows.tilewatching import Watch
from mlstore.format.keys import Factorized
from mlstore.schema.outputs import Output
from mlstore.storage.walking import walk_through


class KeptPlan:
    """Outputs that tiles keep, made ready to be read from them; under names of their own, if given."""

    def __init__(self, plan: TilePlan, outputs: Sequence[Output], names: Sequence[str] = ()) -> None:
        self.plan = plan
        self.outputs = tuple(outputs)
        self._windows = list(dict.fromkeys(output.window for output in outputs))
        wanted = plan.layout.wanted(outputs, self._windows)
        self._trees = Trees(plan.asked, np.array(plan.widths, np.int64), plan.plan.spans(self._windows), wanted, plan.relation.label)
        self._finisher: Finisher = finisher_of(plan.layout, outputs, names or [output.name for output in outputs], self._windows)

    @property
    def begin(self) -> Callable[[list[bytes | None], int], Walk]:
        """What begins the way through the tiles of keys, each as its nodes' names begin with (None: one without events), at a moment."""
        return self._trees.walk

    def fill(self, walk: Walk, answer: dict[str, Any]) -> None:
        """Put what a walk for one key has found into its answer; what is null is left out."""
        try:
            walk.finish(self._finisher, answer)
        except OverflowError as error:
            raise refuse_overflow(self.outputs[error.args[0]]) from None

    def columns(self, walk: Walk, which: Int64 | None = None) -> list[pa.Array]:
        """What a walk has found: a column per output, a row per key, or per place of a key in `which`."""
        states = walk.states() if which is None else walk.states()[which]
        of_window = [np.ascontiguousarray(states[:, place].T) for place in range(len(self._windows))]
        layout, answers = self.plan.layout, []
        for output in self.outputs:
            asked, words = layout.state(output, of_window[self._windows.index(output.window)])
            answers.append(finish(self.plan.plan, output, asked, words, {}))
        return answers


class LivePlan:
    """Some outputs of a window view made ready to be answered from tiles: those that tiles keep, and the others."""

    def __init__(self, relation: Relation, numbers: Sequence[int], plan: TilePlan) -> None:
        self.relation = relation
        self.plan = plan
        self.watch = Watch(plan)
        self.outputs = plan_of(relation, numbers).outputs
        self.others = [number for number, output in zip(numbers, self.outputs, strict=True) if not is_kept(plan.plan, output)]
        self.kept = KeptPlan(plan, [output for output in self.outputs if is_kept(plan.plan, output)])

    def answer_others(self, context: ReadContext, asked: Factorized, moment: int) -> dict[str, pa.Array]:
        """What tiles do not keep, from the events."""
        if not self.others:
            return {}
        questions = WindowQuestions(asked.keys, asked.codes, np.full(len(asked.codes), moment, np.int64), NO_NUMBERS)
        columns = answer_windows(context.history(self.plan.source.relation), self.relation, self.others, questions).columns
        return {self.relation.layout.features[number].name: column for number, column in zip(self.others, columns, strict=True)}

    def answer_kept(self, context: ReadContext, key: bytes | None, moment: int) -> dict[str, Any]:
        """What tiles keep of one key (None: a null one), as Python values."""
        answer: dict[str, Any] = dict.fromkeys(output.name for output in self.kept.outputs)
        self.kept.fill(self._walk(context, [key], moment), answer)
        return answer

    def answer_many(self, context: ReadContext, asked: Factorized, moment: int) -> dict[str, pa.Array]:
        """What tiles keep of some keys, a row per code; who has a null key is answered as a key without events."""
        if not self.kept.outputs:
            return {}
        walk = self._walk(context, [*asked.keys.encoded(), None], moment)
        columns = self.kept.columns(walk, np.where(asked.codes < 0, len(asked.keys), asked.codes))
        return {output.name: column for output, column in zip(self.kept.outputs, columns, strict=True)}

    def _walk(self, context: ReadContext, keys: Sequence[bytes | None], moment: int) -> Walk:
        prefix = self.plan.prefix(context.scope.line)
        heads = [None if key is None else prefix + key for key in keys]
        walk = self.kept.begin(heads, moment)
        walk_through(self.watch.nodes(context, heads), TILES, walk)
        return walk


def live_plan(context: ReadContext, relation: Relation, numbers: Sequence[int]) -> LivePlan | None:
    """What answers these outputs from tiles; None: tiles do not serve here and now."""
    ready = ready_plan(relation, numbers)
    return ready if ready is not None and ready.watch.is_right(context) else None


def ready_plan(relation: Relation, numbers: Sequence[int]) -> LivePlan | None:
    """What would answer these outputs from tiles; None: nothing of the view can be."""
    return relation.remember(("live", tuple(numbers)), lambda: (_ready_plan(relation, numbers),))[0]


def _ready_plan(relation: Relation, numbers: Sequence[int]) -> LivePlan | None:
    plan = tile_plan(relation)
    return None if plan is None else LivePlan(relation, numbers, plan)


def answer_live(context: ReadContext, relation: Relation, numbers: Sequence[int], asked: Factorized, moment: int) -> list[pa.Array] | None:
    """What a window view answers at one moment, a row per code, from tiles as far as they go; None: they do not serve here."""
    ready = live_plan(context, relation, numbers) if len(asked.keys) <= limits.TILE_KEYS else None
    if ready is None:
        return None
    answers = ready.answer_others(context, asked, moment) | ready.answer_many(context, asked, moment)
    return [answers[output.name] for output in ready.outputs]
