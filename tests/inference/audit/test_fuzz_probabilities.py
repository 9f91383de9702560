"""Whatever a well-formed claims folder holds, these checks answer and never fail."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reclaim.inference.audit import bounds, gap, pairing, protocol, selection
from reclaim.inference.audit.cases import Case
from reclaim.inference.audit.exact import Bounds, binomial_tail, holm
from reclaim.inference.audit.sizes import Counts
from reclaim.records import Finding
from tests.inference.audit.small_papers import case, table

METRICS = ("top1", "top5", "top10", "accuracy", "loss")
ROWS = ("a", "b", "c", "d")

decimals = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "", "-"]),
    st.integers(0, 2000),
    st.sampled_from(["", ".0", ".5", ".25", ".999", ".000001"]),
)
accuracies = st.integers(0, 10_000).map(lambda k: f"{k / 100:.2f}")
printed = st.one_of(accuracies, accuracies, decimals, st.just("-"))
readings = st.sampled_from([None, 0, 1, 7, 256, 10_000, 10**7, True, "all", 0.5])


@st.composite
def papers(draw: st.DrawFn) -> Case:
    columns = {f"shapes.{metric}" for metric in draw(st.sets(st.sampled_from(METRICS), min_size=1))}
    cells = {row: {column: draw(printed) for column in sorted(columns)} for row in ROWS}
    knobs = draw(st.booleans())
    rows: dict[str, Any] = {
        row: {"runs": draw(st.sampled_from([None, 1, 5]))}
        | ({"recipe": "x", "knobs": {"k": i}} if knobs else {})
        for i, row in enumerate(ROWS)
    }
    filled = [f"main[{column},{row}]" for row in ROWS for column in cells[row]
              if cells[row][column] != "-"]  # fmt: skip
    return case(
        table("main", cells, rows=rows),
        statements={f"s{i}": draw(statements(filled)) for i in range(3)} if filled else {},
        protocol=[
            {"path": "facts.test_images", "value": draw(readings)},
            {"path": "knobs.hardest", "value": draw(readings)},
            {"path": "twin.queue", "value": draw(st.integers(1, 10**6))},
            {"path": "batch", "value": draw(st.integers(2, 10**6))},
        ],
        images=draw(st.one_of(st.none(), st.integers(1, 300), st.integers(1, 20_000))),
        classes=draw(st.one_of(st.none(), st.integers(2, 12))),
        inferred={cell: draw(st.sampled_from([(), (96,), (192, 96)])) for cell in filled},
    )


@st.composite
def statements(draw: st.DrawFn, cells: list[str]) -> dict[str, Any]:
    one, other = draw(st.sampled_from(cells)), draw(st.sampled_from(cells))
    return draw(
        st.sampled_from(
            [
                {"kind": "order", "greater": [one], "lesser": [other]},
                {"kind": "superlative", "best": [one], "among": cells},
                {"kind": "superlative", "best": [one], "among": cells, "direction": "least"},
                {
                    "kind": "difference",
                    "minuend": one,
                    "subtrahend": other,
                    "printed": draw(decimals),
                    "unit": "points",
                },
                {"kind": "trend", "knob": "k", "shape": "falls", "unprinted": "a figure"},
            ]
        )
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(papers())
def test_any_paper_gets_findings_about_its_own_cells(made: Case) -> None:
    found: list[Finding] = []
    for module in (bounds, gap, selection, protocol):
        found += module.check([made])
    for finding in found:
        assert finding.paper == made.id
        assert set(finding.cells) <= set(made.values)
        assert finding.message.endswith(".")
        assert "\n" not in finding.message
        json.dumps(finding.evidence, allow_nan=False)
        if finding.check in ("gap", "selection"):
            assert finding.verdict != "contradiction"
        for name in ("p_min", "p_max", "p", "p_holm", "p_unpaired", "p_expected"):
            assert 0 <= finding.evidence.get(name, 0) <= 1


counts = st.integers(0, 4000)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4000), counts, counts, counts, counts)
def test_the_range_is_a_range(images: int, a: int, b: int, c: int, d: int) -> None:
    a, b, c, d = (min(k, images) for k in (a, b, c, d))
    one, other = Counts(min(a, b), max(a, b)), Counts(min(c, d), max(c, d))
    found = pairing.measure(one, other, images)
    assert 0 < found.p_min.lower <= found.p_min.upper
    assert found.p_min.lower <= found.p_expected.upper <= found.p_max.upper <= 1
    word = pairing.significance(found.p_min, found.p_max)
    assert (found.flip is None) == (word == "never")
    if found.flip is not None:
        assert abs(one.most - other.least) <= found.flip or abs(other.most - one.least) <= images
        assert found.flip <= images


@settings(max_examples=60, deadline=None)
@given(st.integers(2001, 6000), st.integers(0, 6000), st.integers(1, 60), st.integers(1, 60))
def test_bounds_hold_the_exact_tail(trials: int, most: int, over: int, rest: int) -> None:
    chance, most = Fraction(over, over + rest), min(most, trials)
    found = binomial_tail(most, trials, chance)
    true = binomial_tail(most, trials, chance, exact=True).upper
    assert found.lower <= true <= found.upper
    assert found.upper - found.lower < Fraction(1, 10**25)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fractions(0, 1, max_denominator=1000), max_size=8), st.randoms())
def test_holm_does_not_depend_on_the_order(values: list[Fraction], random: Any) -> None:
    adjusted = dict(zip(values, holm([Bounds.of(p) for p in values]), strict=True))
    shuffled = random.sample(values, len(values))
    again = dict(zip(shuffled, holm([Bounds.of(p) for p in shuffled]), strict=True))
    assert adjusted == again
    assert all(p <= adjusted[p].upper for p in values)
