"""Slots: one stored value of fixed width as a Python object."""

READINGS: dict[str, int]
"""How a value becomes a Python object: the Arrow name of a plain type, the unit of a timestamp, vector32, vector64, call."""

def read_date(days: int) -> object:
    """Days since 1970 as a date; outside the years 1 to 9999 as numpy.datetime64."""

def read_instant(value: int, reading: int) -> object:
    """A time since 1970 as an aware datetime; what a datetime cannot hold, as numpy.datetime64."""
