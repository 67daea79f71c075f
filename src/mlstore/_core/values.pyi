"""Values: one dict of Python values as an entry: the bytes of its key and of its row.

Made of what a row of one revision is: `names` in the order keys, event time, created, features; how the values of each are read (the
numbers of `slots.READINGS`); `delay`: ticks from event time to created where no column says it, negative where the commit does.
"""

from mlstore._core.row_layout import RowLayout

def can_pack(reading: int) -> bool:
    """Whether values that are read so can be packed here: all but nested ones and decimals."""

class ValueForm:
    """Which columns a row of one revision has, and how each is packed."""

    def __init__(
        self,
        layout: RowLayout,
        names: tuple[str, ...],
        key_readings: list[int],
        longest_key: int,
        clock: int,
        has_time: bool,
        has_created: bool,
        delay: int,
    ) -> None: ...
    def pack(self, row: object) -> bytes | None:
        """The entry of a dict: u16 size of the key, key, row; with seq 0, and 0 for every clock that the commit is to fill in.

        None: columns or a value do not fit as they are; what they mean, or how they are refused, is not decided here.
        """
