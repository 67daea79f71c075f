"""Versions as plain Python: every commit is a copy of all rows, and merging compares lists.

Slow, and meant to be checked by reading. It knows nothing of mlstore.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from tests.support.model import Row, ViewModel

Views = dict[str, ViewModel]
Content = tuple[object, ...]
Changes = dict[tuple[object, int], list[tuple[Row | None, Row | None]]]


class Conflict(Exception):
    """Both sides changed the same, and nobody says which to take."""


@dataclass(slots=True)
class History:
    """All commits by id: their parents and what was visible; and where each branch stands."""

    views: dict[str, Views] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, commit: str, views: Views, *, merged: str | None = None) -> None:
        parents = (self.heads.get(branch), merged)
        self.views[commit], self.parents[commit] = views, tuple(parent for parent in parents if parent is not None)
        self.heads[branch] = commit

    def at(self, branch: str) -> Views:
        """A copy of what a branch shows, to be changed."""
        return {name: view.copy() for name, view in self.views[self.heads[branch]].items()}

    def ancestors(self, commit: str) -> set[str]:
        return {commit}.union(*(self.ancestors(parent) for parent in self.parents[commit]))

    def first_parents(self, branch: str) -> list[str]:
        """The commits of a branch, newest first."""
        chain = [self.heads[branch]]
        while self.parents[chain[-1]]:
            chain.append(self.parents[chain[-1]][0])
        return chain

    def base(self, ours: str, theirs: str) -> str:
        """The newest common ancestor; commits are in the order of their making."""
        common = self.ancestors(ours) & self.ancestors(theirs)
        return next(commit for commit in reversed(list(self.views)) if commit in common)


def content(row: Row) -> Content:
    """All that a row says. -0.0 is not 0.0."""
    return (row.key, row.event_time, row.created, *(repr(row.values.get(name)) for name in sorted(row.values)))


def merge_views(base: Views, ours: Views, theirs: Views, strategy: str | None) -> Views:
    return {name: merge_view(base[name], ours[name], theirs[name], strategy) for name in ours}


def merge_view(base: ViewModel, ours: ViewModel, theirs: ViewModel, strategy: str | None) -> ViewModel:
    """Ours, with what theirs has changed since the base."""
    return merge_changes(ours, changes(base, ours), changes(base, theirs), strategy)


def merge_changes(ours: ViewModel, mine: Changes, others: Changes, strategy: str | None) -> ViewModel:
    """Ours, with the changes of others, where `mine` are those that ours has made."""
    merged = ours.copy()
    added: list[Row] = []
    blended: list[Row] = []
    for group, their_changes in others.items():
        for before, after in their_changes:
            match = next((each for each in mine.get(group, []) if _same_row(each, (before, after))), None)
            if match is None:
                _take(merged, before, after, added)
                continue
            mine[group].remove(match)
            kept = match[1]
            if (kept and content(kept)) == (after and content(after)):
                continue
            if kept is None or after is None:
                if strategy is None:
                    raise Conflict
                if strategy == "theirs":
                    _take(merged, kept, after, added)
                continue
            row = blend(before, kept, after, strategy, ours.features)
            if row is not kept:
                _take(merged, kept, row, added if row is after else blended)
    for row in (*added, *blended):
        merged.rows.append(replace(row, seq=merged.next_seq))
        merged.next_seq += 1
    return merged


def blend(base: Row | None, ours: Row, theirs: Row, strategy: str | None, features: list[str]) -> Row:
    """Cell by cell; one of the two rows itself if all cells are its own."""
    values, sides = {}, set()
    for name in features:
        was, mine, other = (None if row is None else repr(row.values.get(name)) for row in (base, ours, theirs))
        side = "ours" if mine == other or (base and was == other) else "theirs" if base and was == mine else strategy
        if side is None:
            raise Conflict
        sides.add(side)
        values[name] = (ours if side == "ours" else theirs).values.get(name)
    if len(sides) == 1:
        return ours if sides == {"ours"} else theirs
    known = [row.created for row in (ours, theirs) if row.created is not None]
    return Row(ours.key, ours.event_time, max(known, default=None), 0, values)


def changes(base: ViewModel, side: ViewModel) -> Changes:
    """What a side did: (before, after) of each row, by key and event time."""
    removed, added = _only_in(base, side), _only_in(side, base)
    found: Changes = {}
    for group in dict.fromkeys((row.key, row.event_time) for row in (*removed, *added)):
        old, new = ([row for row in rows if (row.key, row.event_time) == group] for rows in (removed, added))
        pairs = min(len(old), len(new))
        found[group] = [(row, None) for row in old[pairs:]]
        found[group] += [*zip(old[:pairs], new[:pairs], strict=True), *((None, row) for row in new[pairs:])]
    return found


def _only_in(one: ViewModel, other: ViewModel) -> list[Row]:
    """Rows of the one that the other has not, in their order; the earliest of equal ones are taken for the common ones."""
    common = Counter(map(content, other.rows))
    found = []
    for row in sorted(one.rows, key=lambda row: (row.key, row.rank)):
        common[content(row)] -= 1
        if common[content(row)] < 0:
            found.append(row)
    return found


def _same_row(ours: tuple[Row | None, Row | None], theirs: tuple[Row | None, Row | None]) -> bool:
    if ours[0] is not None or theirs[0] is not None:
        return (ours[0] and content(ours[0])) == (theirs[0] and content(theirs[0]))
    assert ours[1] is not None
    assert theirs[1] is not None
    return ours[1].created == theirs[1].created


def _take(view: ViewModel, old: Row | None, new: Row | None, added: list[Row]) -> None:
    if old is not None:
        view.rows.remove(next(row for row in view.rows if content(row) == content(old)))
    if new is not None:
        added.append(new)
