"""What a verdict rests on, line by line: what the page unfolds below a claim."""

from __future__ import annotations

from collections.abc import Iterator

from reclaim.records import Interval, ReadingVerdict, Verdict
from reclaim.report.numbers import bracketed, chance, plain, signed


def details(verdict: Verdict) -> list[tuple[str, str]]:
    """Every statistic that a verdict has, as (what it is, its value); blanks are left out.

    The first lines decide the verdict, the others stand beside it.
    """
    return [*_tests(verdict), *_readings(verdict), *_beside(verdict)]


def _tests(verdict: Verdict) -> Iterator[tuple[str, str]]:
    if verdict.prediction is not None:
        yield "Expected, 95 %", f"{ranged(verdict.prediction)} {verdict.unit or ''}".rstrip()
    for name, raw, adjusted, overview in (
        ("Different, p", verdict.p, verdict.p_adjusted, verdict.p_overview),
        ("Equivalent, p", verdict.tost_p, verdict.tost_p_adjusted, None),
        ("Order, p", verdict.order_p, verdict.order_p_adjusted, verdict.order_p_overview),
    ):
        if raw is not None:
            wide = "" if overview is None else f"; in the overview {chance(overview)}"
            yield name, f"{chance(raw)}, in the paper's family {chance(adjusted)}{wide}"
    if (margin := verdict.margin) is not None:
        first, second = margin.cells
        yield "Margin", f"{plain(margin.points, 3)} points: half of {first} to {second}"
    if verdict.order and verdict.size:
        yield "Order and size", f"{verdict.order}; {verdict.size}"
    if verdict.sequence:
        yield "Seeds", "added after a look: what decides holds at every look, what is beside it not"


def _readings(verdict: Verdict) -> Iterator[tuple[str, str]]:
    for reading in verdict.readings:
        yield f"Read {reading.reading}", reading_words(reading)


def reading_words(reading: ReadingVerdict) -> str:
    """How a claim stands under a reading, with what was measured under it."""
    if reading.value is None:
        return reading.stands
    return f"{reading.stands}: {plain(reading.value)} {ranged(reading.interval)}".rstrip()


def _beside(verdict: Verdict) -> Iterator[tuple[str, str]]:
    if (effect := verdict.effect) is not None:
        yield "Effect size g", f"{plain(effect.g)} {ranged(effect.g_interval)}"
        yield "P(A > B)", f"{plain(effect.chance)} {ranged(effect.chance_interval)}"
    if (images := verdict.images) is not None:
        new = f"{signed(verdict.difference)} {signed_range(images.interval)}".rstrip()
        yield "For new images", f"{new} (crossed effects, {images.images:,} images)"
        first, second = images.discordant
        p = chance(images.mcnemar_p)
        yield "First seed alone", f"{first} to {second} images, McNemar p {p}: two checkpoints"
    if (seen := verdict.telescope) is not None:
        word = "below" if seen.too_small else "not below"
        yield "Small telescopes", f"at most {signed(seen.upper)}, {word} d33 = {plain(seen.d33)}"
    if verdict.control:
        yield "Controls", verdict.control
    for note in verdict.notes:
        yield "Note", note


def ranged(interval: Interval | None) -> str:
    """[79.71, 80.33], or nothing."""
    return "" if interval is None else f"[{plain(interval.low)}, {plain(interval.high)}]"


def signed_range(interval: Interval | None) -> str:
    """[+0.53, +1.11], or nothing."""
    return "" if interval is None else bracketed(interval.low, interval.high)


def deciding_p(verdict: Verdict) -> str:
    """The adjusted p-value that a row shows: of the test that its verdict rests on.

    Of an equivalence where that was shown, else of a difference; of an order where a claim has no
    size, or no test of a difference (a reading was not measured), or its order stands worse.
    """
    worse = verdict.verdict == verdict.order != verdict.size
    size = verdict.tost_p_adjusted if verdict.size == "reproduced" else verdict.p_adjusted
    if (worse or size is None) and verdict.order_p_adjusted is not None:
        return chance(verdict.order_p_adjusted)
    return chance(size)
