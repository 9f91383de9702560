"""How numbers are written, on the page and in the terminal: two decimals, a true minus sign."""

from __future__ import annotations

from math import isnan

from reclaim.registry.claims import signed as with_sign

NONE = "–"


def absent(number: float | None) -> bool:
    """Whether there is no number to write."""
    return number is None or isnan(number)


def plain(number: float | None, decimals: int = 2) -> str:
    """85.03, or a dash."""
    if number is None or isnan(number):
        return NONE
    return f"{number:z.{decimals}f}".replace("-", "−")


def signed(number: float | None, decimals: int = 2) -> str:
    """+0.82, or a dash."""
    return NONE if number is None or isnan(number) else with_sign(number, decimals)


def chance(p: float | None) -> str:
    """A p-value: 0.032, < 0.001, or a dash."""
    if p is None or isnan(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def bracketed(low: float | None, high: float | None) -> str:
    """[+0.53, +1.11], or nothing."""
    return "" if absent(low) or absent(high) else f"[{signed(low)}, {signed(high)}]"
