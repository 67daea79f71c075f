"""What can be written on an expression: operators and methods, each one operation of the closed list."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

from mlstore.schema.dtypes import DType

Value = Any  # an expression, or a plain value that stands for itself


class Operators:
    """The operators and methods of expressions. Whatever is combined gives another expression of the same class."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def _made(cls, op: str, *inputs: Value, told: Any = None) -> Self:
        """The operation over inputs, told what it is told beside them."""

    def __add__(self, other: Value) -> Self:
        return self._made("add", self, other)

    def __radd__(self, other: Value) -> Self:
        return self._made("add", other, self)

    def __sub__(self, other: Value) -> Self:
        return self._made("subtract", self, other)

    def __rsub__(self, other: Value) -> Self:
        return self._made("subtract", other, self)

    def __mul__(self, other: Value) -> Self:
        return self._made("multiply", self, other)

    def __rmul__(self, other: Value) -> Self:
        return self._made("multiply", other, self)

    def __truediv__(self, other: Value) -> Self:
        return self._made("divide", self, other)

    def __rtruediv__(self, other: Value) -> Self:
        return self._made("divide", other, self)

    def __floordiv__(self, other: Value) -> Self:
        return self._made("floor_divide", self, other)

    def __rfloordiv__(self, other: Value) -> Self:
        return self._made("floor_divide", other, self)

    def __mod__(self, other: Value) -> Self:
        return self._made("remainder", self, other)

    def __rmod__(self, other: Value) -> Self:
        return self._made("remainder", other, self)

    def __pow__(self, other: Value) -> Self:
        return self._made("power", self, other)

    def __rpow__(self, other: Value) -> Self:
        return self._made("power", other, self)

    def __neg__(self) -> Self:
        return self._made("negate", self)

    def __abs__(self) -> Self:
        return self._made("abs", self)

    def __eq__(self, other: Value) -> Self:  # type: ignore[override]  # it builds, as in pyarrow and polars
        return self._made("equal", self, other)

    def __ne__(self, other: Value) -> Self:  # type: ignore[override]
        return self._made("not_equal", self, other)

    def __lt__(self, other: Value) -> Self:
        return self._made("less", self, other)

    def __le__(self, other: Value) -> Self:
        return self._made("less_equal", self, other)

    def __gt__(self, other: Value) -> Self:
        return self._made("greater", self, other)

    def __ge__(self, other: Value) -> Self:
        return self._made("greater_equal", self, other)

    def __and__(self, other: Value) -> Self:
        return self._made("and", self, other)

    def __rand__(self, other: Value) -> Self:
        return self._made("and", other, self)

    def __or__(self, other: Value) -> Self:
        return self._made("or", self, other)

    def __ror__(self, other: Value) -> Self:
        return self._made("or", other, self)

    def __invert__(self) -> Self:
        return self._made("not", self)

    def is_null(self) -> Self:
        """Whether there is no value. NaN is one."""
        return self._made("is_null", self)

    def is_nan(self) -> Self:
        """Whether a float is NaN."""
        return self._made("is_nan", self)

    def fill_null(self, value: Value) -> Self:
        """`value` where there is none."""
        return self._made("coalesce", self, value)

    def isin(self, values: Any) -> Self:
        """Whether it is one of these constants. NaN is in a list that names it."""
        return self._made("isin", self, *values)

    def cast(self, dtype: DType) -> Self:
        """As another type: numbers, bools, and times among themselves; integers and bools also as string. Out of range: null."""
        return self._made("cast", self, told=dtype)

    def abs(self) -> Self:
        """Without its sign."""
        return self._made("abs", self)

    def sign(self) -> Self:
        """-1, 0 or 1."""
        return self._made("sign", self)

    def floor(self) -> Self:
        """The next whole number at or below, of the same type."""
        return self._made("floor", self)

    def ceil(self) -> Self:
        """The next whole number at or above, of the same type."""
        return self._made("ceil", self)

    def round(self, digits: int = 0) -> Self:
        """To so many digits behind the point, halves to the even one."""
        return self._made("round", self, told=digits)

    def sqrt(self) -> Self:
        """The square root; NaN of negative numbers."""
        return self._made("sqrt", self)

    def exp(self) -> Self:
        """e to the power of it."""
        return self._made("exp", self)

    def log(self) -> Self:
        """The natural logarithm; -inf of 0, NaN of negative numbers."""
        return self._made("log", self)

    def log2(self) -> Self:
        """The logarithm to base 2."""
        return self._made("log2", self)

    def log10(self) -> Self:
        """The logarithm to base 10."""
        return self._made("log10", self)

    def log1p(self) -> Self:
        """The natural logarithm of 1 more."""
        return self._made("log1p", self)

    def sin(self) -> Self:
        """The sine of radians."""
        return self._made("sin", self)

    def cos(self) -> Self:
        """The cosine of radians."""
        return self._made("cos", self)

    def tan(self) -> Self:
        """The tangent of radians."""
        return self._made("tan", self)

    def asin(self) -> Self:
        """The arc sine, in radians."""
        return self._made("asin", self)

    def acos(self) -> Self:
        """The arc cosine, in radians."""
        return self._made("acos", self)

    def atan2(self, x: Value) -> Self:
        """The angle of the point (x, this one), in radians."""
        return self._made("atan2", self, x)

    def lower(self) -> Self:
        """A string in lower case."""
        return self._made("lower", self)

    def upper(self) -> Self:
        """A string in upper case."""
        return self._made("upper", self)

    def strip(self) -> Self:
        """A string without white space at its ends."""
        return self._made("strip", self)

    def length(self) -> Self:
        """How many characters a string has."""
        return self._made("length", self)

    def contains(self, text: str) -> Self:
        """Whether a constant text occurs in a string."""
        return self._made("contains", self, text)

    def starts_with(self, text: str) -> Self:
        """Whether a string begins with a constant text."""
        return self._made("starts_with", self, text)

    def ends_with(self, text: str) -> Self:
        """Whether a string ends with a constant text."""
        return self._made("ends_with", self, text)

    def epoch(self, unit: str = "us") -> Self:
        """How many "s", "ms", "us" or "ns" after 1970 a time is, rounded down: int64."""
        return self._made("epoch", self, told=unit)

    def year(self) -> Self:
        """The year of a time, UTC."""
        return self._made("year", self)

    def month(self) -> Self:
        """The month of a time, UTC: 1 to 12."""
        return self._made("month", self)

    def day(self) -> Self:
        """The day of the month of a time, UTC."""
        return self._made("day", self)

    def weekday(self) -> Self:
        """The day of the week of a time, UTC: 0 is Monday."""
        return self._made("weekday", self)

    def hour(self) -> Self:
        """The hour of a time, UTC."""
        return self._made("hour", self)

    def minute(self) -> Self:
        """The minute of a time, UTC."""
        return self._made("minute", self)
