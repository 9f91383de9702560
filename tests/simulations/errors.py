"""Errors put into true papers, and whether print alone can show them.

A printed decimal stands for all numbers that some rounding (nearest, down or up) prints so: the
open interval of one unit of its last digit on either side, within 0 to 100 % for an accuracy.
`violations` lists what no numbers in these intervals can satisfy; a true paper has none but of
granularity, where a cell that is no k/n may still be an average of another kind. An error is
detectable in principle when it makes such a violation, or meets its kind's own criterion. Nothing
here knows how an audit works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, count, pairwise
from math import ceil, floor
from typing import Any

import numpy as np
from scipy import stats

from tests.simulations import tables
from tests.simulations.tables import Draft, Said, locator, parts

Cells = frozenset[str]
Interval = tuple[Fraction, Fraction]
NEVER = 5  # so many more right answers are never significant: the exact McNemar p is >= 2^-4
PROTOCOL: Cells = frozenset()  # a contradiction of the protocol concerns no cell


@dataclass(frozen=True)
class Violation:
    """What cannot be true together, and which kind of check it is for."""

    check: str
    cells: Cells


@dataclass(frozen=True)
class Case:
    """A paper with an error, the same paper without it where that is another, and what to find.

    A finding is right about the error if its cells include one of `seeded`.
    """

    draft: Draft
    clean: Draft | None
    seeded: tuple[Cells, ...]
    detectable: bool


# --- intervals -----------------------------------------------------------------------------------


def unit(printed: str) -> Fraction:
    """One unit of the last printed digit."""
    return Fraction(1, 10 ** len(printed.partition(".")[2]))


def around(printed: str, scale: int = 1) -> Interval:
    """The open interval of what a printed number may have been before it was rounded."""
    number = Fraction(printed)
    return scale * (number - unit(printed)), scale * (number + unit(printed))


def spread(draft: Draft, cell: str) -> Interval:
    """What an accuracy may have been, in percent."""
    low, high = around(draft.printed(cell), 100 if draft.style.fraction else 1)
    if not 0 <= draft.shown(cell) <= 100:
        return low, high
    return max(low, Fraction(0)), min(high, Fraction(100))


def apart(a: Interval, b: Interval) -> bool:
    """Whether two numbers cannot be one."""
    return a[1] <= b[0] or b[1] <= a[0]


def counts(draft: Draft, cell: str, n: int) -> range:
    """All k for which 100 k/n lies strictly inside a cell's interval, whatever the rounding."""
    low, high = around(draft.printed(cell), 100 if draft.style.fraction else 1)
    return range(max(0, floor(low * n / 100) + 1), min(n, ceil(high * n / 100) - 1) + 1)


# --- what cannot be true -------------------------------------------------------------------------


def violations(draft: Draft) -> Iterator[Violation]:
    """Everything that print alone disproves."""
    yield from _out_of_range(draft)
    yield from _off_grid(draft)
    yield from _printed_twice(draft)
    yield from _top5_below(draft)
    for said in draft.statements.values():
        yield from _false(draft, said)
    yield from _protocol(draft)


def cells_of(draft: Draft) -> Iterator[str]:
    """All accuracies of the results tables."""
    for table in tables.results(draft):
        for row in draft.tables[table]["rows"]:
            for column in tables.values_columns(draft, table):
                yield locator(table, column, row)


def _out_of_range(draft: Draft) -> Iterator[Violation]:
    for cell in cells_of(draft):
        if not 0 <= draft.shown(cell) <= 100:
            yield Violation("bounds", frozenset([cell]))


def _off_grid(draft: Draft) -> Iterator[Violation]:
    """Cells that are no k/n at the stated n where all others of the data set are."""
    if not draft.style.n_stated:
        return
    for name, about in draft.datasets.items():
        off = []
        for cell in cells_of(draft):
            if parts(cell)[1].startswith(f"{name}."):
                runs = draft.tables[parts(cell)[0]].get("runs", 1)
                if not counts(draft, cell, about.test * runs):
                    off.append(cell)
        if len({draft.entities[cell] for cell in off}) == 1:
            yield from (Violation("granularity", frozenset([cell])) for cell in off)


def _printed_twice(draft: Draft) -> Iterator[Violation]:
    groups: dict[Any, list[str]] = {}
    for cell in cells_of(draft):
        groups.setdefault(draft.entities[cell], []).append(cell)
    for group in groups.values():
        for a, b in combinations(group, 2):
            if apart(spread(draft, a), spread(draft, b)):
                yield Violation("cross_table", frozenset([a, b]))


def _top5_below(draft: Draft) -> Iterator[Violation]:
    for top1, top5 in both_metrics(draft):
        if below(draft, top5, top1):
            yield Violation("bounds", frozenset([top1, top5]))


def both_metrics(draft: Draft) -> Iterator[tuple[str, str]]:
    """Top-1 and top-5 cells of one entity in one table."""
    for table in tables.results(draft):
        for row in draft.tables[table]["rows"]:
            for column in tables.values_columns(draft, table):
                if column.endswith("top5"):
                    top1 = column.replace("top5", "top1")
                    yield locator(table, top1, row), locator(table, column, row)


def below(draft: Draft, a: str, b: str) -> bool:
    """Whether cell a is less than cell b whatever the rounding."""
    return spread(draft, a)[1] <= spread(draft, b)[0]


def _false(draft: Draft, said: Said) -> Iterator[Violation]:
    """What a statement gets wrong for certain."""
    kind = said["kind"]
    if kind == "value":
        scale = 100 if draft.style.fraction else 1
        if apart(spread(draft, said["cell"]), around(said["printed"], scale)):
            yield Violation("arithmetic", frozenset([said["cell"]]))
    elif kind == "difference" and not _difference_possible(draft, said):
        yield Violation("arithmetic", frozenset([said["minuend"], said["subtrahend"]]))
    elif kind == "sum":
        terms = [spread(draft, cell) for cell in said["terms"]]
        whole = sum(low for low, _ in terms), sum(high for _, high in terms)
        if apart((Fraction(whole[0]), Fraction(whole[1])), around(said["printed"])):
            yield Violation("arithmetic", frozenset(said["terms"]))
    elif kind == "trend":
        yield from _false_trend(draft, said)
    elif kind in ("order", "superlative", "magnitude"):
        yield from _false_order(draft, said)


def _difference_possible(draft: Draft, said: Said) -> bool:
    """Whether some rounding of the two cells allows the printed number, read as its unit says."""
    a, b = (spread(draft, said[which]) for which in ("minuend", "subtrahend"))
    readings = {"points": [points], "relative_percent": [relative], "percent": [points, relative]}
    printed = around(said["printed"])
    return any(not apart(reading(a, b), printed) for reading in readings[said["unit"]])


def points(a: Interval, b: Interval) -> Interval:
    """a − b."""
    return a[0] - b[1], a[1] - b[0]


def relative(a: Interval, b: Interval) -> Interval:
    """100 (a − b)/b, for accuracies."""
    most = 100 * (a[1] - b[0]) / b[0] if b[0] > 0 else Fraction(10**9)
    return 100 * (a[0] - b[1]) / b[1], most


def compared(said: Said) -> list[tuple[str, str]]:
    """What a statement of order compares, the greater first."""
    if said["kind"] == "order":
        return tables.pairs(said["greater"], said["lesser"])
    if said["kind"] == "superlative":
        found = tables.pairs(said["best"], said["among"])
        return found if said["direction"] == "greatest" else [(b, a) for a, b in found]
    found = tables.pairs(said["minuend"], said["subtrahend"])
    return found if said["direction"] == "increase" else [(b, a) for a, b in found]


def grouped(said: Said) -> list[list[tuple[str, str]]]:
    """What a quantifier counts: the best cells, each against its column, or else single pairs."""
    found = compared(said)
    if said["kind"] != "superlative":
        return [[pair] for pair in found]
    return [[pair for pair in found if cell in pair] for cell in said["best"]]


def _false_order(draft: Draft, said: Said) -> Iterator[Violation]:
    """The exceptions that no rounding explains, if there are too many; vague words need half."""
    groups = grouped(said)
    word = said.get("quantifier", "all")
    if word == "none":
        for group in groups:
            if all(below(draft, b, a) for a, b in group):
                yield from (Violation("order", frozenset(pair)) for pair in group)
        return
    wrong = [[(a, b) for a, b in group if below(draft, a, b)] for group in groups]
    allowed = {"all": 0.0, "almost_all": 0.5, "most": 0.5, "some": 1 - 0.5 / len(groups)}[word]
    if sum(map(bool, wrong)) > allowed * len(groups):
        yield from (Violation("order", frozenset(pair)) for group in wrong for pair in group)


def _false_trend(draft: Draft, said: Said) -> Iterator[Violation]:
    """Pairs of the curve, in its order, that go the wrong way."""
    steps = list(combinations(said["curve"], 2))
    wrong: list[tuple[str, str]] = []
    if said["shape"] == "rises":
        wrong = [(a, b) for a, b in steps if below(draft, b, a)]
    elif said["shape"] == "falls":
        wrong = [(a, b) for a, b in steps if below(draft, a, b)]
    elif said["shape"] == "peak":
        wrong = [(said["at"], b) for b in said["curve"] if below(draft, said["at"], b)]
    elif all(below(draft, a, b) for a, b in steps):
        wrong = steps
    for pair in wrong:
        yield Violation("order", frozenset(pair))


def _protocol(draft: Draft) -> Iterator[Violation]:
    """Printed settings that contradict each other or the table of the data sets."""
    if _queue_and_batch(draft) or any(_sizes_differ(draft, value) for value in draft.protocol):
        yield Violation("protocol", PROTOCOL)


def _queue_and_batch(draft: Draft) -> bool:
    """A queue that its method's batch does not divide."""
    batches = {tuple(value.get("when", {}).get("recipes", ())): value["value"]
               for value in draft.protocol if value["path"] == "batch"}  # fmt: skip
    for value in draft.protocol:
        if value["path"] == tables.queue_path():
            recipes = tuple(value["when"]["recipes"])
            if value["value"] % batches.get(recipes, batches[()]):
                return True
    return False


def _sizes_differ(draft: Draft, value: Mapping[str, Any]) -> bool:
    """A number of images with two printed readings, or not the one of the table."""
    if value["path"] not in ("dataset.subset", "facts.test_images"):
        return False
    readings = {value["value"], *(other["value"] for other in value.get("readings", ()))}
    about = draft.datasets[value["when"]["datasets"][0]]
    if value["path"] == "facts.test_images":  # n_stated: paper.yaml has it too
        readings.add(about.test)
        return len(readings) > 1
    most = about.train if "sizes" in draft.tables else max(readings)
    return len(readings) > 1 or max(readings) > most


# --- errors in print -----------------------------------------------------------------------------

Rng = np.random.Generator
Seeded = tuple[Cells, ...] | None  # None: this paper has no place for the error
Maker = Callable[[Rng, int], Case | None]


def swapped(rng: Rng, printed: str) -> str | None:
    """Two neighbouring digits exchanged, over the point if need be; None where it cannot be."""
    places = [i for i, letter in enumerate(printed) if letter.isdigit()]
    found = []
    for i, j in pairwise(places):
        letters = list(printed)
        letters[i], letters[j] = letters[j], letters[i]
        text = "".join(letters)
        bare = text.removeprefix("-")
        if text != printed and not (len(bare) > 1 and bare[0] == "0" and bare[1] != "."):
            found.append(text)
    return tables.pick(rng, found) if found else None


def statement(rng: Rng, draft: Draft, *kinds: str, **having: str) -> Said | None:
    """One of the draft's statements of some kinds."""
    found = [
        said
        for said in draft.statements.values()
        if said["kind"] in kinds and having.items() <= said.items()
    ]
    return found[int(rng.integers(len(found)))] if found else None


def digit_swap_cell(rng: Rng, draft: Draft) -> Seeded:
    """Detectable iff the new string is out of range, no k/n, or disagrees with anything else."""
    cell = tables.pick(rng, list(cells_of(draft)))
    if (text := swapped(rng, draft.printed(cell))) is None:
        return None
    draft.set(cell, text)
    return (frozenset([cell]),)


def digit_swap_difference(rng: Rng, draft: Draft) -> Seeded:
    """Detectable iff it lies outside what the rounding of the two cells allows."""
    said = statement(rng, draft, "difference")
    return _reprinted(said, swapped(rng, said["printed"])) if said else None


def _reprinted(said: Said, text: str | None) -> Seeded:
    """A statement's number replaced by another."""
    if text is None or Fraction(text) == Fraction(said["printed"]):
        return None
    said["printed"] = text
    if said["kind"] == "sum":
        return (frozenset(said["terms"]),)
    return (frozenset([said["minuend"], said["subtrahend"]]),)


def swapped_rows(rng: Rng, draft: Draft) -> Seeded:
    """Detectable iff a statement or another print of an entity disagrees with a moved number."""
    table = tables.pick(rng, tables.results(draft))
    rows = [str(row) for row in rng.permutation(list(draft.tables[table]["rows"]))[:2]]
    cells = draft.cells[table]
    columns = tables.values_columns(draft, table)
    moved = [column for column in columns if cells[rows[0]][column] != cells[rows[1]][column]]
    cells[rows[0]], cells[rows[1]] = cells[rows[1]], cells[rows[0]]
    return tuple(frozenset([locator(table, c, row)]) for c in moved for row in rows) or None


def absolute_for_relative(rng: Rng, draft: Draft) -> Seeded:
    """Detectable iff the points lie outside the relative gains that the rounding allows."""
    said = statement(rng, draft, "difference", unit="relative_percent")
    if said is None:
        return None
    number = tables.gap(draft, said["minuend"], said["subtrahend"], "points")
    decimals = len(said["printed"].partition(".")[2])
    return _reprinted(said, tables.say(rng, draft, number, decimals)) if number else None


def older(rng: Rng, draft: Draft, cell: str) -> Fraction:
    """An older measurement of a cell, as a percentage: the same chance, other images."""
    n = draft.datasets[draft.entities[cell][0][2]].test
    return Fraction(100 * int(rng.binomial(n, float(draft.values[cell]) / 100)), n)


def stale_baseline(rng: Rng, draft: Draft) -> Seeded:
    """Detectable iff the gain over the older value is none that the rounding allows."""
    said = statement(rng, draft, "difference")
    if said is None or said["unit"] == "percent":
        return None
    unit_ = "relative" if said["unit"] == "relative_percent" else "points"
    a, b = said["minuend"], said["subtrahend"]
    stale = draft.copy()
    stale.values[b] = older(rng, draft, b)
    stale.set(b, tables.rounded(stale.values[b] / _scale(draft), 4, "half_up"))
    number = tables.gap(stale, a, b, unit_)
    if number is None or number < 0:
        return None
    return _reprinted(said, tables.say(rng, draft, number, len(said["printed"].partition(".")[2])))


def _scale(draft: Draft) -> int:
    return 100 if draft.style.fraction else 1


def false_superlative(rng: Rng, draft: Draft) -> Seeded:
    """A cell called the best that is not. Detectable iff another is greater for any rounding."""
    table = tables.pick(rng, tables.results(draft))
    column = tables.pick(rng, tables.values_columns(draft, table))
    among = [locator(table, column, row) for row in draft.tables[table]["rows"]]
    ranked = sorted(among, key=lambda cell: draft.values[cell], reverse=True)
    best = ranked[1 if rng.random() < 0.5 else int(rng.integers(1, len(ranked)))]
    better = [cell for cell in among if draft.values[cell] > draft.values[best]]
    said: Said = {"kind": "superlative", "best": [best], "among": among, "quantifier": "all"}
    tables.add_statement(draft, said | {"direction": "greatest"})
    return tuple(frozenset([best, cell]) for cell in better) or None


def false_quantifier(rng: Rng, draft: Draft) -> Seeded:
    """'All' or 'decreases' with exceptions. Detectable iff one is an exception for any rounding."""
    cells, values = tables.curve(draft)
    if cells and rng.random() < 0.5:
        return _false_shape(rng, draft, cells, values)
    said = tables.order(rng, draft)
    if said is None or said["quantifier"] == "all":
        return None
    tables.add_statement(draft, said | {"quantifier": "all"})
    found = compared(said)
    wrong = [(a, b) for a, b in found if draft.values[a] < draft.values[b]]
    return tuple(frozenset(pair) for pair in wrong) or None


def _false_shape(rng: Rng, draft: Draft, cells: Sequence[str], values: Sequence[str]) -> Seeded:
    shape = str(rng.choice(["rises", "falls"]))
    steps = [(b, a) if shape == "rises" else (a, b) for a, b in combinations(cells, 2)]
    wrong = [(a, b) for a, b in steps if draft.values[a] < draft.values[b]]
    said = {"kind": "trend", "knob": tables.KNOB, "shape": shape}
    tables.add_statement(draft, said | {"curve": list(cells), "values": list(values)})
    return tuple(frozenset(pair) for pair in wrong) or None


def cross_table(rng: Rng, draft: Draft) -> Seeded:
    """One of two prints of an entity is older. Detectable iff no number rounds to both."""
    groups: dict[Any, list[str]] = {}
    for cell in cells_of(draft):
        groups.setdefault(draft.entities[cell], []).append(cell)
    twice = [group for group in groups.values() if len(group) > 1]
    if not twice:
        return None
    group = twice[int(rng.integers(len(twice)))]
    cell = tables.pick(rng, group)
    decimals = len(draft.printed(cell).partition(".")[2])
    text = tables.say(rng, draft, older(rng, draft, cell) / _scale(draft), decimals)
    if Fraction(text) == Fraction(draft.printed(cell)):
        return None
    draft.set(cell, text)
    return tuple(frozenset([cell, other]) for other in group if other != cell)


def top5_below_top1(rng: Rng, draft: Draft) -> Seeded:
    """Columns exchanged in one row, or a top-5 a little too low. Detectable iff below for sure."""
    found = list(both_metrics(draft))
    if not found:
        return None
    top1, top5 = found[int(rng.integers(len(found)))]
    text = draft.printed(top1)
    if rng.random() < 0.5:
        draft.set(top1, draft.printed(top5))
    else:
        step = unit(text) * int(rng.integers(1, 50))
        low = max(Fraction(0), Fraction(text) - step)
        text = tables.rounded(low, len(text.partition(".")[2]), "half_up")
    draft.set(top5, text)
    wrong = Fraction(draft.printed(top5)) < Fraction(draft.printed(top1))
    return (frozenset([top1, top5]),) if wrong else None


def out_of_range(rng: Rng, draft: Draft) -> Seeded:
    """A misplaced point or a stray minus. Detectable iff the print is below 0 or above 100 %."""
    cell = tables.pick(rng, list(cells_of(draft)))
    text = draft.printed(cell)
    if rng.random() < 0.5 and Fraction(text):
        draft.set(cell, f"-{text}")
    else:
        places = int(rng.integers(1, 3))
        decimals = max(0, len(text.partition(".")[2]) - places)
        draft.set(cell, tables.rounded(Fraction(text) * 10**places, decimals, "half_up"))
    return (frozenset([cell]),) if draft.printed(cell) != text else None


def sum_wrong(rng: Rng, draft: Draft) -> Seeded:
    """Digits swapped or a term left out. Detectable iff no rounding of the terms gives it."""
    said = statement(rng, draft, "sum")
    if said is None or rng.random() < 0.5:
        return _reprinted(said, swapped(rng, said["printed"])) if said else None
    kept = said["terms"][:-1]
    number = sum((tables.known(draft, term) for term in kept), Fraction(0))
    return _reprinted(said, tables.say(rng, draft, number, draft.style.decimals))


def _value(rng: Rng, draft: Draft, *paths: str) -> dict[str, Any] | None:
    found = [value for value in draft.protocol if value["path"] in paths]
    return found[int(rng.integers(len(found)))] if found else None


def split_sizes(rng: Rng, draft: Draft) -> Seeded:
    """A number of images that another print contradicts. Detectable iff another one is printed."""
    value = _value(rng, draft, "dataset.subset", "facts.test_images")
    if value is None:
        return None
    number = value["value"] + int(rng.integers(1, max(2, value["value"] // 5)))
    if rng.random() < 0.5:
        said = {"value": number, "source": "printed", "locator": "Section 3"}
        value["readings"] = [said]
    else:
        value["value"] = number
    return (PROTOCOL,)


def queue(rng: Rng, draft: Draft) -> Seeded:
    """A queue a few keys off. Detectable iff the batch does not divide it."""
    if (value := _value(rng, draft, tables.queue_path())) is None:
        return None
    value["value"] += int(rng.choice([-1, 1, 10, 100]))
    return (PROTOCOL,)


# --- errors in what was measured or claimed ------------------------------------------------------

ONE_RUN: Mapping[str, Any] = {"average": "single", "runs": 1, "n_stated": True, "sd": False}


def wrong_n(rng: Rng, seed: int) -> Case | None:
    """One number measured on another test set. Detectable iff it is no k/n of the stated n."""
    clean = tables.draw(seed, **ONE_RUN)
    cell = tables.pick(rng, list(cells_of(clean)))
    entity, metric = clean.entities[cell]
    n = clean.datasets[entity[2]].test
    any_size = int(rng.integers(20, n + 1))
    other = int(rng.choice([n - 1, n + 1, n // 2, 9 * n // 10, 2 * n, any_size]))
    hits = int(rng.binomial(other, float(clean.values[cell]) / 100))
    seeded = tuple(c for c, of in clean.entities.items() if of == (entity, metric))

    def edit(draft: Draft) -> None:
        draft.values.update(dict.fromkeys(seeded, Fraction(100 * hits, other)))

    draft = tables.draw(seed, edit, **ONE_RUN)
    if other == n or any(draft.values[a] > draft.values[b] for a, b in both_metrics(draft)):
        return None
    off = [c for c in seeded if not counts(draft, c, n)]
    return Case(draft, clean, tuple(frozenset([c]) for c in seeded), bool(off))


def small_gap(rng: Rng, seed: int) -> Case | None:
    """A gain of few images. Detectable iff the rounding allows at most five of the stated n."""
    more = int(rng.integers(1, 2 * NEVER + 1))
    found: list[str] = []

    def edit(draft: Draft) -> None:
        column = tables.pick(rng, [c for c in tables.values_columns(draft, "table1") if "1" in c])
        first = next(iter(draft.tables["table1"]["rows"]))
        found[:] = [locator("table1", column, row) for row in (tables.OURS, first)]
        ours, base = (draft.entities[cell][0] for cell in found)
        ranks = draft.ranks[base].copy()
        wrong = np.flatnonzero(ranks[0] > 1)[:more]
        ranks[0, wrong] = 1
        draft.ranks[ours] = ranks
        tables.evaluate(rng, draft)

    draft = tables.draw(seed, edit, **ONE_RUN)
    if not claim(rng, draft, *found):
        return None
    n = draft.datasets[draft.entities[found[0]][0][2]].test
    a, b = (counts(draft, cell, n) for cell in found)
    return Case(draft, None, (frozenset(found),), a[-1] - b[0] <= NEVER)


def claim(rng: Rng, draft: Draft, a: str, b: str) -> bool:
    """State the gain of a over b in points, if print shows one."""
    if draft.shown(a) <= draft.shown(b) or draft.values[a] <= draft.values[b]:
        return False
    number = draft.shown(a) - draft.shown(b)
    decimals = max(len(draft.printed(cell).partition(".")[2]) for cell in (a, b))
    said = {"kind": "difference", "minuend": a, "subtrahend": b, "unit": "points"}
    text = tables.say(rng, draft, number, decimals - 2 * draft.style.fraction)
    tables.add_statement(draft, said | {"printed": text})
    return Fraction(text) > 0


def optimism(settings: int, n: int, chance: float) -> float:
    """In points, how far the best of equal, independent settings lies above their mean."""
    below_ = stats.binom.cdf(np.arange(n), n, chance)
    return float(100 * ((1 - below_**settings).sum() / n - chance))


def selection(rng: Rng, seed: int) -> Case | None:
    """The luckiest of equal settings presented as a gain, over another setting or over a baseline.

    Detectable iff no rounding puts the gain above the optimism of that many settings.
    """

    def edit(draft: Draft) -> None:
        cells, _ = tables.curve(draft)
        for cell in cells:
            entity = draft.entities[cell][0]
            about = draft.datasets[entity[2]]
            shape = draft.ranks[entity].shape
            draft.ranks[entity] = tables.measure(rng, shape, about.classes, about.skill)
        tables.evaluate(rng, draft)
        if cells and outside:
            _print_best_in_main(rng, draft, cells)

    outside = bool(rng.random() < 0.5)
    draft = tables.draw(seed, edit, **ONE_RUN)
    cells, values = tables.curve(draft)
    if not cells:
        return None
    best = max(cells, key=lambda cell: draft.values[cell])
    said = {"kind": "trend", "knob": tables.KNOB, "shape": "peak", "at": best}
    tables.add_statement(draft, said | {"curve": cells, "values": values})
    column = parts(best)[1]
    first = next(iter(draft.tables["table1"]["rows"]))
    a, b = best, cells[0]
    if outside:
        a, b = (locator("table1", column, row) for row in (tables.OURS, first))
    if draft.values[cells[0]] == draft.values[best] or not claim(rng, draft, a, b):
        return None
    n = draft.datasets[draft.entities[best][0][2]].test
    most = min(optimism(len(cells), n, float(draft.shown(cell)) / 100) for cell in (a, b))
    gain = spread(draft, a)[1] - spread(draft, b)[0]
    return Case(draft, None, (frozenset([a]),), gain <= most)


def _print_best_in_main(rng: Rng, draft: Draft, cells: Sequence[str]) -> None:
    """Our row of the main table becomes the best setting of the sweep."""
    best = max(cells, key=lambda cell: draft.values[cell])
    knobs = draft.tables["table4"]["rows"][parts(best)[2]]["knobs"]
    draft.tables["table1"]["rows"][tables.OURS]["knobs"] = knobs
    for cell, (entity, metric) in list(draft.entities.items()):
        if cell.startswith("table1[") and entity[0] == tables.OURS:
            moved = (entity[0], draft.entities[best][0][1], *entity[2:])
            draft.entities[cell] = (moved, metric)
    tables.evaluate(rng, draft)


# --- all kinds -----------------------------------------------------------------------------------


def in_print(edit: Callable[[Rng, Draft], Seeded], checks: Mapping[str, Any]) -> Maker:
    """The maker of an error that is put into a printed paper."""

    def make(rng: Rng, seed: int) -> Case | None:
        clean = tables.draw(seed)
        draft = clean.copy()
        if (seeded := edit(rng, draft)) is None:
            return None
        found = [v for v in violations(draft) if v.check in checks]
        shown = any(cells <= v.cells for v in found for cells in seeded)
        return Case(draft, clean, seeded, shown)

    return make


@dataclass(frozen=True)
class Kind:
    """A kind of error: how it is made, and the verdicts of the checks that may find it."""

    make: Maker
    checks: Mapping[str, frozenset[str]]


CANNOT = frozenset({"contradiction", "implausible"})
WEAK = frozenset({"unsupported"})
ANY = CANNOT | WEAK


def _kind(edit: Callable[[Rng, Draft], Seeded], **checks: frozenset[str]) -> Kind:
    return Kind(in_print(edit, checks), checks)


KINDS: Mapping[str, Kind] = {
    "digit swap in a cell": _kind(
        digit_swap_cell, arithmetic=CANNOT, cross_table=CANNOT, order=CANNOT, bounds=CANNOT,
        granularity=CANNOT,
    ),
    "digit swap in a difference": _kind(digit_swap_difference, arithmetic=CANNOT),
    "swapped rows": _kind(swapped_rows, arithmetic=CANNOT, cross_table=CANNOT, order=CANNOT),
    "absolute for relative": _kind(absolute_for_relative, arithmetic=CANNOT),
    "stale baseline": _kind(stale_baseline, arithmetic=CANNOT),
    "wrong n": Kind(wrong_n, {"granularity": CANNOT}),
    "false superlative": _kind(false_superlative, order=CANNOT),
    "false quantifier": _kind(false_quantifier, order=CANNOT),
    "cross-table mismatch": _kind(cross_table, cross_table=CANNOT),
    "top-5 below top-1": _kind(top5_below_top1, bounds=CANNOT),
    "out of range": _kind(out_of_range, bounds=CANNOT),
    "wrong sum": _kind(sum_wrong, arithmetic=CANNOT),
    "split sizes": _kind(split_sizes, protocol=CANNOT),
    "queue and batch": _kind(queue, protocol=CANNOT),
    "selection on the test set": Kind(selection, {"selection": WEAK}),
    "gap too small": Kind(small_gap, {"gap": WEAK}),
}  # fmt: skip


def case(kind: str, seed: int) -> Case:
    """The seed's paper with an error of a kind: of the papers drawn the first with room for it."""
    place = list(KINDS).index(kind)
    for attempt in count():
        rng = np.random.default_rng([seed, place, attempt])
        if found := KINDS[kind].make(rng, int(rng.integers(2**40))):
            return found
    raise AssertionError("unreachable")
