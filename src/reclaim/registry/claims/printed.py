"""Printed numbers, read and written, and the names of the cells they stand in."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from reclaim.records import ReclaimError

NOT_PRINTED = "-"
DECIMAL = r"-?(\d{1,12}(\.\d{1,12})?|\.\d{1,12})"
NAME = r"[a-z0-9][a-z0-9_.]{0,99}"

_DECIMAL = re.compile(DECIMAL, re.ASCII)
_LOCATOR = re.compile(r"([a-z0-9_.]+)\[([a-z0-9_.*]+),([a-z0-9_.*]+)\]", re.ASCII)


def is_decimal(printed: str) -> bool:
    """Whether a string is a decimal as papers print it: 75, 75.00, -0.4, .75."""
    return _DECIMAL.fullmatch(printed) is not None


def exact(printed: str) -> Fraction:
    """The printed decimal as an exact fraction: "82.35" is 1647/20. Raises ReclaimError."""
    if not is_decimal(printed):
        raise ReclaimError(f"{printed!r} is not a printed decimal; expected digits such as 82.35")
    return Fraction(printed)


def decimals(printed: str) -> int:
    """How many digits stand after the point: "75" has 0, "75.00" has 2."""
    return len(printed.partition(".")[2])


def half_width(printed: str) -> Fraction:
    """Half a unit of the last printed digit: rounding to nearest hides no more than this."""
    return Fraction(1, 2 * 10 ** decimals(printed))


def split(cell: str) -> tuple[str, str, str]:
    """Table, column and row of a locator such as `table3[top1,hcl]`. Raises ReclaimError."""
    if not (match := _LOCATOR.fullmatch(cell)):
        raise ReclaimError(f"{cell!r} names no cell; expected table[column,row]")
    return match[1], match[2], match[3]


def signed(number: float | Decimal, decimals: int | None = 2) -> str:
    """A number with its sign and a true minus: +0.82; `decimals` None keeps a Decimal's own."""
    text = f"{number:+}" if decimals is None else f"{number:+z.{decimals}f}"
    return text.replace("-", "−")
