"""Value forms: how one dict of Python values becomes the bytes of its key and of its row, without a detour through Arrow.

A form takes only values whose meaning is plain; what it does not take goes the way of every table, and is understood or refused there.
"""

from mlstore._core.slots import READINGS
from mlstore._core.values import ValueForm, can_pack
from mlstore.format.keys import MAX_KEY
from mlstore.format.rows import RowPlan, reading_of
from mlstore.schema.layout import Layout

__all__ = ["ValueForm", "compile_form"]


def compile_form(layout: Layout, plan: RowPlan) -> ValueForm | None:
    """The form of a layout whose features are those of the plan; None where a type of it has to go through Arrow."""
    if not all(can_pack(reading_of(field.name, field.dtype.arrow)[0]) for field in layout.features):
        return None
    return ValueForm(
        plan.layout,
        layout.column_names,
        [reading_of(field.name, field.dtype.arrow)[0] for field in layout.keys],
        MAX_KEY,
        READINGS[layout.time_unit],
        layout.timestamp is not None,
        layout.created_timestamp is not None,
        -1 if layout.available_after_ns is None else layout.available_after_ns // layout.ticks_ns,
    )
