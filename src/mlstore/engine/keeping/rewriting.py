"""Rewriting: one segment written anew in its place, without the rows that may leave the file, or in another tier."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mlstore.engine import limits
from mlstore.engine.catalog import Relation, load_catalog
from mlstore.engine.history.block import ERASED
from mlstore.engine.history.runs import Placement
from mlstore.engine.history.segments import list_deletes, list_entries
from mlstore.engine.session import Session, WriteContext
from mlstore.engine.versions import all_scopes
from mlstore.engine.windows.tilekeeping import following
from mlstore.engine.writing import upkeep
from mlstore.format.manifest import SegmentEntry


def rewrite_segment(context: WriteContext, relation: Relation, entry: SegmentEntry, tier: str) -> None:
    """Write a segment of the context's line anew."""
    deletes = list_deletes(context.writer, relation.table, context.scope.line).get(entry.segment)
    block = upkeep.open_block(context.writer, relation, entry, deletes)
    placement = Placement(entry.run, entry.level, tier=tier, place=entry.place)
    with following(context, relation):
        upkeep.rewrite(context, relation, [(block, entry.start_row, entry.rows)], placement)
        upkeep.drop_segment(context, relation, entry)


def rewrite_erased(session: Session) -> int:
    """Write anew, in transactions of bounded size, every segment that holds erased rows; how many."""
    rewritten: set[int] = set()
    is_done = False
    while not is_done:
        with session.writing() as context:
            is_done = True
            for place, relation, entry in _erased_from(context):
                rewrite_segment(place, relation, entry, entry.tier)
                rewritten.add(entry.segment)
                if context.writer.dirty_bytes >= limits.STAGE_BYTES:
                    is_done = False
                    break
            upkeep.collect(context.writer)
    return len(rewritten)


def each_line(context: WriteContext) -> Iterator[WriteContext]:
    """The same transaction at the end of every line of the file, with the definitions of that line."""
    for scope in all_scopes(context.reader):
        yield replace(context, scope=scope, catalog=load_catalog(context.reader, scope))


def _erased_from(context: WriteContext) -> Iterator[tuple[WriteContext, Relation, SegmentEntry]]:
    for place in each_line(context):
        for relation in place.catalog.relations():
            deletes = list_deletes(place.writer, relation.table, place.scope.line)
            marked = {segment for segment, (_, seqs) in deletes.items() if np.any(seqs == ERASED)}
            for entry in list_entries(place.writer, relation.table, place.scope.line) if marked else ():
                if entry.segment in marked:
                    yield place, relation, entry
