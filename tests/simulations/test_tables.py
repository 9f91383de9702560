"""The generator: its true papers are true, its errors are what they say, its criterion is exact."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reclaim.registry.claims import Paper, load_papers
from tests.simulations import errors, scored_auditor, tables
from tests.simulations.tables import Draft

TRUE = range(45)
MANY = range(1200)
IN_PRINT = [name for name, kind in errors.KINDS.items() if kind.make.__name__ == "make"]


@pytest.fixture(scope="module")
def drafts() -> list[Draft]:
    """True papers, some with a second paper that measured the same anew."""
    return [draft for seed in TRUE for draft in tables.true_papers(seed)]


# --- true papers are true ------------------------------------------------------------------------


def recount(draft: Draft, cell: str) -> Decimal:
    """A cell's percentage, one image after the other."""
    entity, metric = draft.entities[cell]
    style, best = draft.style, {"top1": 1, "top5": 5}[metric]
    shares = []
    for run in draft.ranks[entity].tolist():
        size = style.batch if style.average in ("batches", "dropped") else len(run)
        batches = [run[i : i + size] for i in range(0, len(run), size)]
        if style.average == "dropped":
            batches = [batch for batch in batches if len(batch) == size]
        means = [Decimal(sum(rank <= best for rank in batch)) / len(batch) for batch in batches]
        shares.append(sum(means, Decimal(0)) / len(means))
    return 100 * sum(shares, Decimal(0)) / len(shares)


def recounts(draft: Draft) -> dict[str, Decimal]:
    """All accuracies of a draft."""
    return {cell: recount(draft, cell) for cell in errors.cells_of(draft)}


@pytest.fixture(autouse=True)
def _precise() -> Iterator[None]:
    with localcontext() as context:
        context.prec = 50
        yield


def test_values_are_counted_from_the_ranks(drafts: list[Draft]) -> None:
    for draft in drafts[::3]:
        for cell, value in recounts(draft).items():
            exact = draft.values[cell]
            assert abs(value * exact.denominator - exact.numerator) < Decimal("1e-40")


def roundings(value: Decimal, decimals: int) -> set[Decimal]:
    """What the ways to round make of a number; a double may fall to either side of a half."""
    step = Decimal(1).scaleb(-decimals)
    ways = (ROUND_HALF_UP, ROUND_HALF_EVEN, ROUND_DOWN)
    value = value.quantize(Decimal("1e-30"))  # 1/3 + 2/3 is one
    return {value.quantize(step, way) for way in ways} | {Decimal(f"{float(value):.{decimals}f}")}


def test_cells_print_what_was_counted(drafts: list[Draft]) -> None:
    for draft in drafts[::3]:
        style = draft.style
        for cell, value in recounts(draft).items():
            most = style.decimals + 2 * style.fraction
            scaled = value / (100 if style.fraction else 1)
            allowed = {most, max(2 * style.fraction, most - 1)} if style.mixed_decimals else {most}
            printed = draft.printed(cell)
            fits = {d for d in allowed if Decimal(printed) in roundings(scaled, d)}
            assert fits, (printed, scaled, style)
            if style.drop_zeros:
                assert not (("." in printed) and printed.endswith(("0", ".")))
            else:
                assert len(printed.partition(".")[2]) in fits


def test_ranks_are_possible_and_as_good_as_chance_or_better() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 10, 200):
        ranks = tables.measure(rng, (2, 20_000), classes, 0.4)
        assert ranks.min() == 1 and ranks.max() <= classes
        assert abs((ranks == 1).mean() - 0.4) < 0.01
        nearest = (ranks[ranks > 1] <= 5).mean()
        assert nearest > min(1, 4 / (classes - 1)) - 0.02


def agree(said: Mapping[str, Any], true: Mapping[str, Decimal], shown: Mapping[str, Decimal],
          scale: int) -> bool:  # fmt: skip
    """Whether a statement is true of the exact numbers, or of the printed ones."""
    kind = said["kind"]
    if kind in ("order", "superlative", "magnitude", "trend"):
        return holds(said, true)
    number = Decimal(said.get("printed", 0)) * scale
    step = Decimal(1).scaleb(-len(said.get("printed", "").partition(".")[2])) * scale
    if kind == "unprinted":
        return True
    return any(abs(number - n) < step for values in (true, shown) for n in numbers(said, values))


def numbers(said: Mapping[str, Any], values: Mapping[str, Decimal]) -> list[Decimal]:
    """What a statement's number may be meant to be."""
    if said["kind"] == "value":
        return [values[said["cell"]]]
    if said["kind"] == "sum":
        return [sum((values[cell] for cell in said["terms"]), Decimal(0))]
    a, b = values[said["minuend"]], values[said["subtrahend"]]
    relative = [100 * (a - b) / b] if b else []
    return {"points": [a - b], "relative_percent": relative, "percent": [a - b, *relative]}[
        said["unit"]
    ]


def holds(said: Mapping[str, Any], true: Mapping[str, Decimal]) -> bool:
    """Whether a statement without a number is true."""
    if said["kind"] == "trend":
        return shape_holds(said, [true[cell] for cell in said["curve"]], true)
    first, second = {"order": ("greater", "lesser"), "superlative": ("best", "among"),
                     "magnitude": ("minuend", "subtrahend")}[said["kind"]]  # fmt: skip
    column = {cell: cell.split("[")[1].split(",")[0] for cell in (*said[first], *said[second])}
    down = said.get("direction") in ("least", "decrease")
    cases = []
    for a in said[first]:
        others = [b for b in said[second] if a != b and column[a] == column[b]]
        right_of = [(true[b] > true[a]) if down else (true[a] > true[b]) for b in others]
        cases += [all(right_of)] if said["kind"] == "superlative" else right_of
    right, wrong = cases.count(True), cases.count(False)
    word = said.get("quantifier", "all")
    return {"all": wrong == 0, "none": right == 0, "some": right > 0, "most": right > wrong,
            "almost_all": 0 < wrong <= 0.2 * len(cases)}[word]  # fmt: skip


def shape_holds(said: Mapping[str, Any], curve: Sequence[Any], true: Mapping[str, Any]) -> bool:
    """Whether a curve has the shape that is stated."""
    ordered = sorted(set(curve))
    rises = list(curve) == ordered
    return {
        "rises": rises,
        "falls": list(curve) == ordered[::-1],
        "no_steady_rise": not rises,
        "peak": "at" in said and true[said["at"]] == max(curve) and curve.count(max(curve)) == 1,
    }[said["shape"]]


def test_statements_are_true(drafts: list[Draft]) -> None:
    kinds: Counter[str] = Counter()
    for draft in drafts:
        scale = 100 if draft.style.fraction else 1
        true = {c: Decimal(v.numerator) / v.denominator for c, v in draft.values.items()}
        shown = {cell: Decimal(draft.printed(cell)) * scale for cell in errors.cells_of(draft)}
        for said in draft.statements.values():
            assert agree(said, true, shown, scale if said["kind"] == "value" else 1), said
            kinds[said["kind"]] += 1
    assert set(kinds) == {"value", "sum", "difference", "order", "superlative", "magnitude",
                          "trend", "unprinted"}  # fmt: skip


def test_a_protocol_agrees_with_itself_and_with_the_table_of_sizes(drafts: list[Draft]) -> None:
    seen = 0
    for draft in drafts:
        paper = tables.paper(draft)
        for recipe, dataset in itertools.product(draft.methods, draft.datasets):
            settings = {path: v.value for path, v in paper.protocol_of(recipe, dataset).items()}
            if tables.queue_path() in settings:
                assert settings[tables.queue_path()] % settings["batch"] == 0
                seen += 1
            if "sizes" in draft.cells and settings:
                row = {k: v.replace(",", "").replace(" ", "")
                       for k, v in draft.cells["sizes"][dataset].items()}  # fmt: skip
                assert settings["dataset.subset"] == int(row["training_set"])
                assert settings["facts.test_images"] == int(row["test_set"])
    assert seen


def test_nothing_in_a_true_paper_is_a_violation(drafts: list[Draft]) -> None:
    found = [v for draft in drafts for v in errors.violations(draft) if v.check != "granularity"]
    assert not found


def test_a_folder_reads_back_as_the_paper(tmp_path: Path, drafts: list[Draft]) -> None:
    for draft in drafts:
        tables.write(draft, tmp_path)
    read = load_papers(tmp_path, recipes=(), datasets=())
    assert read == {draft.id: tables.paper(draft) for draft in drafts}


def test_a_seed_is_a_paper() -> None:
    assert tables.paper(tables.draw(5)) == tables.paper(tables.draw(5))
    assert tables.paper(tables.draw(5)) != tables.paper(tables.draw(6))


# --- style at the stated rates -------------------------------------------------------------------


def near(times: int, rate: float, of: int) -> bool:
    """Within what chance alone does in 99.99 % of all cases."""
    return bool(stats.binomtest(times, of, rate).pvalue > 1e-4)


def test_habits_come_at_the_stated_rates() -> None:
    styles = [tables.draw_style(np.random.default_rng([7, seed])) for seed in MANY]
    for name, rate in tables.RATES.items():
        if name not in ("rerun", "sd"):
            assert near(sum(getattr(style, name) for style in styles), rate, len(styles)), name
    runs = [style for style in styles if style.average == "runs"]
    assert near(sum(style.sd for style in runs), tables.RATES["sd"], len(runs))
    for name, weights in (("average", tables.AVERAGES), ("rounding", tables.ROUNDINGS),
                          ("decimals", tables.DECIMALS)):  # fmt: skip
        seen = Counter(getattr(style, name) for style in styles)
        assert sum(weights.values()) == pytest.approx(1)
        assert all(near(seen[key], rate, len(styles)) for key, rate in weights.items())


def test_faults_of_style_show_in_print() -> None:
    shown: Counter[str] = Counter()
    papers = [draft for seed in range(300) for draft in tables.true_papers(seed)]
    for draft in papers:
        entities = Counter(draft.entities[cell] for cell in errors.cells_of(draft))
        shown["twice"] += max(entities.values()) > 1
        for table in tables.results(draft):
            cells = [c for row in draft.cells[table].values() for c in row.values()]
            places = {len(cell.partition(".")[2]) for cell in cells}
            shown["mixed" if draft.style.mixed_decimals else "even"] += len(places) > 1
            shown["short"] += draft.style.drop_zeros and len(places) > 1
        shown.update(said.get("quantifier", "no word") for said in draft.statements.values())
        shown["ties"] += any(_tied(draft, said) for said in draft.statements.values())
    assert len(papers) > 300 and all(shown[word] > 10 for word in ("twice", "mixed", "short"))
    words = ("all", "almost_all", "most", "some", "none", "ties")
    assert all(shown[word] > 5 for word in words), shown


def _tied(draft: Draft, said: dict[str, Any]) -> bool:
    """Whether a true order is hidden by the rounding."""
    if said["kind"] not in ("order", "superlative", "magnitude"):
        return False
    return any(
        draft.values[a] > draft.values[b] and draft.shown(a) == draft.shown(b)
        for a, b in errors.compared(said)
    )


def test_test_sets_have_all_sizes() -> None:
    style = tables.draw_style(np.random.default_rng(1))
    drawn = [tables.draw_dataset(np.random.default_rng([8, seed]), style) for seed in MANY]
    sizes = [about.test for about in drawn]
    assert min(sizes) < 45 and max(sizes) == 10_000
    assert {about.classes for about in drawn} == set(tables.CLASSES)
    assert all(about.classes <= about.test for about in drawn)


# --- errors change exactly what they say ---------------------------------------------------------

# Cells, statements and protocol values that differ; -1: any number but none, + n: n added.
CHANGES = {
    "digit swap in a cell": (1, 0, 0),
    "digit swap in a difference": (0, 1, 0),
    "swapped rows": (-1, 0, 0),
    "absolute for relative": (0, 1, 0),
    "stale baseline": (0, 1, 0),
    "false superlative": (0, 1, 0),
    "false quantifier": (0, 1, 0),
    "cross-table mismatch": (1, 0, 0),
    "top-5 below top-1": (-1, 0, 0),
    "out of range": (1, 0, 0),
    "wrong sum": (0, 1, 0),
    "split sizes": (0, 0, 1),
    "queue and batch": (0, 0, 1),
}


def cells(draft: Draft) -> dict[str, str]:
    """All printed strings by locator."""
    return {
        tables.locator(table, column, row): printed
        for table, rows in draft.cells.items()
        for row, of in rows.items()
        for column, printed in of.items()
    }


def changed(case: errors.Case) -> tuple[set[str], int, int]:
    """Cells, and how many statements and protocol values, in which a case differs."""
    new, old = case.draft, case.clean
    assert old is not None and new.tables == old.tables and new.entities == old.entities
    before, after = cells(old), cells(new)
    assert before.keys() == after.keys()
    statements = [name for name, said in new.statements.items() if old.statements.get(name) != said]
    assert old.statements.keys() <= new.statements.keys()
    protocol = [a != b for a, b in zip(new.protocol, old.protocol, strict=True)]
    return {cell for cell in after if after[cell] != before[cell]}, len(statements), sum(protocol)


@pytest.mark.parametrize("kind", IN_PRINT)
def test_an_error_changes_what_it_says(kind: str) -> None:
    for seed in range(12):
        case = errors.case(kind, seed)
        differing, *others = changed(case)
        most, *expected = CHANGES[kind]
        assert others == expected
        assert len(differing) == most or (most < 0 and differing)
        seeded = set().union(*case.seeded)
        assert {cell for cell in differing if ".sd," not in cell} <= seeded
        assert seeded <= cells(case.draft).keys()


def test_every_kind_is_tested() -> None:
    assert set(IN_PRINT) == set(CHANGES)
    assert set(errors.KINDS) - set(CHANGES) == {"wrong n", "selection on the test set",
                                                "gap too small"}  # fmt: skip


def digits(text: str) -> list[str]:
    return [letter for letter in text if letter.isdigit()]


def test_swapped_digits_are_two_neighbours() -> None:
    rng = np.random.default_rng(3)
    for text in ("82.35", "-1.3", "0.7512", "10.2", "100", "55.5", "0"):
        for _ in range(20):
            other = errors.swapped(rng, text)
            if other is None:
                assert text in ("55.5", "0", "100")
                continue
            places = [i for i, (a, b) in enumerate(zip(text, other, strict=True)) if a != b]
            assert sorted(digits(other)) == sorted(digits(text)) and len(places) == 2
            assert not set(text[places[0] + 1 : places[1]]) - {"."}
            assert str(abs(Decimal(other))) == other.removeprefix("-")


def test_swapped_rows_are_swapped() -> None:
    case = errors.case("swapped rows", 1)
    assert case.clean is not None
    rows = {cell.rstrip("]").split(",")[1] for group in case.seeded for cell in group}
    table = next(iter(case.seeded[0])).split("[")[0]
    a, b = sorted(rows)
    assert case.draft.cells[table][a] == case.clean.cells[table][b]
    assert case.draft.cells[table][b] == case.clean.cells[table][a]


def test_points_stand_where_a_relative_gain_is_named() -> None:
    for seed in range(20):
        case = errors.case("absolute for relative", seed)
        (pair,) = case.seeded
        (said,) = (s for n, s in case.draft.statements.items()
                   if case.clean and case.clean.statements[n] != s)  # fmt: skip
        assert said["unit"] == "relative_percent" and {said["minuend"], said["subtrahend"]} == pair
        a, b = (case.draft.values[said[which]] for which in ("minuend", "subtrahend"))
        step = Fraction(1, 10 ** len(said["printed"].partition(".")[2]))
        slack = 2 * max(errors.unit(case.draft.printed(cell)) for cell in pair) * 100
        assert abs(Fraction(said["printed"]) - (a - b)) <= step + slack


def test_false_statements_are_false() -> None:
    for kind in ("false superlative", "false quantifier"):
        for seed in range(40):
            case = errors.case(kind, seed)
            true = {c: Decimal(v.numerator) / v.denominator for c, v in case.draft.values.items()}
            *old, new = case.draft.statements.values()
            assert not holds(new, true)
            assert all(agree(said, true, true, 1) for said in old if "printed" not in said)


def test_a_number_on_another_test_set_is_k_of_that() -> None:
    for seed in range(12):
        case = errors.case("wrong n", seed)
        cell = next(iter(case.seeded[0]))
        assert case.clean is not None
        others = [c for c in errors.cells_of(case.draft) if frozenset([c]) not in case.seeded]
        assert all(case.draft.values[c] == case.clean.values[c] for c in others)
        assert 0 <= case.draft.values[cell] <= 100
        assert not [v for v in errors.violations(case.draft) if v.check != "granularity"]


def test_a_small_gap_is_that_of_a_few_images() -> None:
    for seed in range(12):
        case = errors.case("gap too small", seed)
        (pair,) = case.seeded
        said = list(case.draft.statements.values())[-1]
        a, b = said["minuend"], said["subtrahend"]
        assert {a, b} == pair
        n = case.draft.datasets[case.draft.entities[a][0][2]].test
        more = (case.draft.values[a] - case.draft.values[b]) * n / 100
        assert 1 <= more <= 2 * errors.NEVER and more.denominator == 1
        assert more <= errors.NEVER or not case.detectable


# --- the criterion is exact ----------------------------------------------------------------------

WAYS = (ROUND_HALF_UP, ROUND_HALF_EVEN, ROUND_DOWN, ROUND_UP)


def prints(value: Fraction, decimals: int) -> set[str]:
    """A number under nearest, down and up."""
    exact = (Decimal(value.numerator) / value.denominator).quantize(Decimal("1e-30"))
    step = Decimal(1).scaleb(-decimals)
    found = {exact.quantize(step, way) for way in WAYS}
    return {str(number if number else abs(number)) for number in found}


def one_column(texts: Mapping[str, str], **said: Any) -> Draft:
    """A draft with one column of cells and one statement."""
    rng = np.random.default_rng(0)
    style = tables.draw_style(rng)
    fixed = {**vars(style), "fraction": False, "n_stated": False}
    about = {"kind": "results", "columns": {"birds.top1": {}}, "rows": {row: {} for row in texts}}
    draft = Draft("small", tables.Style(**fixed), {}, {}, tables={"t": about})
    draft.cells["t"] = {row: {"birds.top1": text} for row, text in texts.items()}
    draft.entities = {cell: ((cell, "", "", ""), "top1") for cell in errors.cells_of(draft)}
    if said:
        tables.add_statement(draft, said)
    return draft


def at(row: str) -> str:
    return tables.locator("t", "birds.top1", row)


@pytest.mark.parametrize("n", [1, 7, 10, 32, 97])
@pytest.mark.parametrize("decimals", [0, 1])
def test_a_string_is_k_of_n_for_some_rounding_or_for_none(n: int, decimals: int) -> None:
    possible = set().union(*(prints(Fraction(100 * k, n), decimals) for k in range(n + 1)))
    for i in range(100 * 10**decimals + 1):
        text = tables.rounded(Fraction(i, 10**decimals), decimals, "half_up")
        assert bool(errors.counts(one_column({"a": text}), at("a"), n)) == (text in possible)


FINE = [Fraction(i, 8) for i in range(8 * 7)]


def test_a_difference_is_possible_if_some_rounding_of_two_numbers_prints_it() -> None:
    possible = {
        (a, b, d)
        for x, y in itertools.product(FINE, FINE)
        for a, b, d in itertools.product(prints(x, 0), prints(y, 0), prints(x - y, 0))
    }
    for a, b in itertools.product("012345", "012345"):
        for d in range(-9, 10):
            said = {"kind": "difference", "minuend": at("a"), "subtrahend": at("b")}
            draft = one_column({"a": a, "b": b}, **said, unit="points", printed=str(d))
            assert bool(list(errors.violations(draft))) == ((a, b, str(d)) not in possible)


def test_relative_gains_reach_as_far_as_the_two_intervals() -> None:
    a, b = (Fraction(3), Fraction(5)), (Fraction(6), Fraction(8))
    inside = [Fraction(i, 40) for i in range(1, 80)]
    gains = [100 * (3 + x) / (6 + y) - 100 for x, y in itertools.product(inside, inside)]
    low, high = errors.relative(a, b)
    assert low < min(gains) < low + 3 and high - 3 < max(gains) < high


@pytest.mark.parametrize("unit", ["points", "relative_percent", "percent"])
def test_every_gain_of_two_numbers_is_possible(unit: str) -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        x, y = (Fraction(int(i), 160) for i in rng.integers(1, 16_000, size=2))
        gain = x - y if unit == "points" or rng.random() < (unit == "percent") / 2 else x / y
        gain = gain if gain == x - y else 100 * gain - 100
        a, b = (tables.pick(rng, sorted(prints(z, int(rng.integers(3))))) for z in (x, y))
        printed = tables.pick(rng, sorted(prints(gain, int(rng.integers(3)))))
        said = {"kind": "difference", "minuend": at("a"), "subtrahend": at("b"), "unit": unit}
        draft = one_column({"a": a, "b": b}, **said, printed=printed)
        assert not list(errors.violations(draft)), (x, y, gain, draft.cells, printed)


def test_a_sum_is_possible_if_some_rounding_of_the_terms_prints_it() -> None:
    possible = {
        (a, b, t)
        for x, y in itertools.product(FINE, FINE)
        for a, b, t in itertools.product(prints(x, 0), prints(y, 0), prints(x + y, 0))
    }
    for a, b in itertools.product("012345", "012345"):
        for t in range(16):
            said = {"kind": "sum", "terms": [at("a"), at("b")], "printed": str(t)}
            draft = one_column({"a": a, "b": b}, **said)
            assert bool(list(errors.violations(draft))) == ((a, b, str(t)) not in possible)


def behind(text: str, step: int = 1) -> list[Fraction]:
    """The numbers that some rounding prints so."""
    return [x for x in FINE[::step] if text in prints(x, 0)]


@pytest.mark.parametrize("word", ["all", "some", "none"])
def test_an_order_is_false_if_no_numbers_behind_the_print_make_it_true(word: str) -> None:
    judge: Any = {"all": all, "some": any, "none": lambda cases: not any(cases)}[word]
    hidden = {text: behind(text) for text in "01234"}
    for a, b, c in itertools.product(hidden, repeat=3):
        numbers = itertools.product(hidden[a], hidden[b], hidden[c])
        true = any(judge([x > y, x > z]) for x, y, z in numbers)
        said = {"greater": [at("a")], "lesser": [at("b"), at("c")], "quantifier": word}
        draft = one_column({"a": a, "b": b, "c": c}, kind="order", **said)
        assert bool(list(errors.violations(draft))) == (not true)


@pytest.mark.parametrize("shape", ["rises", "falls", "no_steady_rise", "peak"])
def test_a_shape_is_false_if_no_numbers_behind_the_print_have_it(shape: str) -> None:
    rows = ("a", "b", "c")
    said = {"kind": "trend", "shape": shape, "curve": [at(row) for row in rows]}
    said |= {"at": at("b")} if shape == "peak" else {}
    hidden = {text: behind(text, 2) for text in "01234"}
    for texts in itertools.product(hidden, repeat=3):
        curves = itertools.product(*(hidden[text] for text in texts))
        true = any(shape_holds(said, curve, {at("b"): curve[1]}) for curve in curves)
        draft = one_column(dict(zip(rows, texts, strict=True)), **said)
        assert bool(list(errors.violations(draft))) == (not true), texts


def test_two_prints_are_of_one_number_or_of_none() -> None:
    for x, y in itertools.product("01234", ["0.0", "0.5", "1.0", "1.5", "2.0", "3.9", "4.0"]):
        fine = [Fraction(i, 80) for i in range(80 * 6)]
        true = any(x in prints(z, 0) and y in prints(z, 1) for z in fine)
        assert errors.apart(errors.around(x), errors.around(y)) == (not true)


def test_five_more_right_answers_are_never_significant_and_six_can_be() -> None:
    for n, a, b in itertools.product(range(1, 13), range(13), range(13)):
        if not b <= a <= n:
            continue
        pairings = range(max(0, a + b - n), b + 1)  # how many both get right
        tests = [(a - both, b - both) for both in pairings]
        least = min(stats.binomtest(x, x + y).pvalue if x + y else 1.0 for x, y in tests)
        assert (least > 0.05) == (a - b <= errors.NEVER)


@pytest.mark.parametrize(("settings", "n"), [(1, 3), (2, 4), (3, 3)])
def test_optimism_is_the_mean_of_the_best_of_all_outcomes(settings: int, n: int) -> None:
    chance = 0.3
    outcomes = stats.binom.pmf(range(n + 1), n, chance)
    best = sum(
        max(hits) * np.prod([outcomes[k] for k in hits])
        for hits in itertools.product(range(n + 1), repeat=settings)
    )
    assert errors.optimism(settings, n, chance) == pytest.approx(100 * (best / n - chance))


# --- the score -----------------------------------------------------------------------------------


def oracle(drafts: Iterator[Draft | None]) -> scored_auditor.Auditor:
    """An auditor that knows the criterion; it is asked about the drafts in turn."""

    def audit(papers: Mapping[str, Paper], checks: Sequence[str]) -> list[Any]:
        draft = next(drafts)
        assert draft is not None and papers == {draft.id: tables.paper(draft)}
        found = errors.violations(draft)
        return [finding(violation.check, violation.cells, "contradiction") for violation in found]

    return audit


@pytest.mark.parametrize("kind", IN_PRINT)
def test_what_is_detectable_can_be_found_and_nothing_else(kind: str) -> None:
    for seed in range(12):
        case = errors.case(kind, seed)
        drafts = iter([case.draft, case.clean])
        by = scored_auditor.finders(case, errors.KINDS[kind], oracle(drafts))
        assert bool(by) == case.detectable


def finding(check: str, cells: Collection[str], verdict: str) -> Any:
    return SimpleNamespace(check=check, cells=cells, verdict=verdict, message="No.")


def test_a_finding_counts_only_with_check_verdict_and_cells_and_only_if_new() -> None:
    kind = errors.KINDS["digit swap in a difference"]
    case = errors.case("digit swap in a difference", 0)
    pair = sorted(case.seeded[0])

    def by(*found: Any, clean: Sequence[Any] = ()) -> set[str]:
        answers = iter([found, clean])
        return scored_auditor.finders(case, kind, lambda papers, checks: list(next(answers)))

    right = finding("arithmetic", [*pair, "t[c,r]"], "contradiction")
    assert by(right) == {"arithmetic"}
    assert by(right, clean=[right]) == set()
    assert by(finding("order", pair, "contradiction")) == set()
    assert by(finding("arithmetic", pair[:1], "contradiction")) == set()
    assert by(finding("arithmetic", pair, "consistent")) == set()


def test_the_command_prints_both_tables(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def mute(papers: Mapping[str, Paper], checks: Sequence[str]) -> list[Any]:
        return []

    def crying(papers: Mapping[str, Paper], checks: Sequence[str]) -> list[Any]:
        return [finding("order", [], "contradiction")]

    few = ["--tables", "3", "--true", "2", "--kind", "out of range", "--keep", str(tmp_path)]
    assert scored_auditor.main(few, mute) == 0
    assert "| out of range | 3 | 0.0 (0.0–56.1) | 3 | 0.0 (0.0–56.1) | 0 of 0 | – |" in (
        printed := capsys.readouterr().out
    )
    assert "| contradiction | any | 0 | 0.0 (0.0–65.8) |" in printed
    assert len(list((tmp_path / "out_of_range").glob("*/*/paper.yaml"))) == 3
    assert scored_auditor.main([*few[:6], "--keep", str(tmp_path / "more")], crying) == 1
    assert "false alarm, seed 1: order [] No." in capsys.readouterr().out
