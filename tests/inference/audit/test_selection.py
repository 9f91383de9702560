"""The optimism of the best of m settings against all outcomes, and the sweeps of papers."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import pytest

from reclaim.inference.audit.selection import check, explained, optimism, ranked, sweeps
from reclaim.records import Finding
from tests.inference.audit.small_papers import answer, case, order, table

pytestmark = pytest.mark.arithmetic


def slow_optimism(settings: int, images: int, accuracy: Fraction) -> Fraction:
    """The mean of the maximum over every outcome of every setting."""
    p = [comb(images, k) * accuracy**k * (1 - accuracy) ** (images - k) for k in range(images + 1)]
    mean = Fraction(0)
    for outcome in itertools.product(range(images + 1), repeat=settings):
        chance = Fraction(1)
        for k in outcome:
            chance *= p[k]
        mean += chance * max(outcome)
    return mean / images - accuracy


@pytest.mark.parametrize("accuracy", [Fraction(0), Fraction(1, 3), Fraction(9, 10), Fraction(1)])
def test_optimism_is_the_mean_of_the_maximum(accuracy: Fraction) -> None:
    for settings, images in ((1, 5), (2, 1), (2, 6), (3, 4), (4, 3)):
        expected = float(slow_optimism(settings, images, accuracy))
        assert optimism(settings, images, accuracy) == pytest.approx(expected, abs=1e-14)


def test_optimism_agrees_with_a_simulation() -> None:
    rng = np.random.default_rng(7)
    best = rng.binomial(192, 0.8281, size=(200_000, 7)).max(axis=1) / 192 - 0.8281
    error = best.std() / len(best) ** 0.5
    assert abs(optimism(7, 192, Fraction("0.8281")) - best.mean()) < 4 * error


def test_optimism_grows_with_settings_and_shrinks_with_images() -> None:
    p = Fraction(7, 10)
    assert [optimism(m, 100, p) for m in (1, 2, 5, 20)] == sorted(
        optimism(m, 100, p) for m in (1, 2, 5, 20)
    )
    assert optimism(5, 100, p) > optimism(5, 1000, p) > optimism(5, 10_000, p) > 0


@pytest.mark.parametrize(
    "wrong", [(0, 5, Fraction(1, 2)), (2, 0, Fraction(1, 2)), (2, 5, Fraction(3, 2)), (2, 5, -1)]
)
def test_optimism_refuses_what_makes_no_sense(wrong: tuple[int, int, Any]) -> None:
    with pytest.raises(ValueError, match=f"best of {wrong[0]} settings at {wrong[2]} of"):
        optimism(*wrong)


def test_a_gain_is_explained_up_to_the_greatest_optimism() -> None:
    assert explained(Fraction(0), 0.25)
    assert explained(Fraction(1, 4), 0.25)
    assert not explained(Fraction(26, 100), 0.25)
    assert not explained(Fraction(-1, 100), 0.25)


# --- papers --------------------------------------------------------------------------------------

SWEEP = {"one": "78.0", "two": "82.0", "four": "81.0", "six": "70.0"}
ROWS = {
    name: {"recipe": "ours", "knobs": {"k": k}} for name, k in zip(SWEEP, (1, 2, 4, 6), strict=True)
}
TABLES = (
    table("sweep", {name: {"shapes.top1": share} for name, share in SWEEP.items()}, rows=ROWS),
    table("main", {"ours": {"shapes.top1": "82.0"}, "theirs": {"shapes.top1": "79.0"}}),
)
DEFAULT = [{"path": "knobs.k", "value": 2, "when": {"recipes": ["ours"]}}]
BEST, OURS, THEIRS = "sweep[shapes.top1,two]", "main[shapes.top1,ours]", "main[shapes.top1,theirs]"
AMONG = [f"sweep[shapes.top1,{name}]" for name in SWEEP]
OPTIMAL = {"kind": "superlative", "best": [BEST], "among": AMONG}


def findings(statements: dict[str, Any], **changes: Any) -> list[Finding]:
    changes = {"protocol": DEFAULT} | changes
    return list(check([case(*TABLES, statements=statements, **changes)]))


def test_a_gain_beyond_luck_is_consistent_and_one_inside_is_unsupported() -> None:
    for images, verdict in ((1000, "consistent"), (100, "unsupported")):
        (found,) = findings({"s": order(OURS, THEIRS)}, images=images)
        most = optimism(4, images, Fraction(82, 100))
        assert found.verdict == verdict
        assert found.evidence["optimism"] == [0.0, most]
        assert found.evidence["inside"] == (Fraction(3, 100) <= most)
        assert found.evidence["settings"] == 4
        assert found.evidence["knobs"] == "k"
        assert found.evidence["gain_exact"] == "3/100"
        assert found.evidence["accuracy_exact"] == "41/50"
        assert found.evidence["images"] == images
        assert found.cells == (OURS, THEIRS, *AMONG)
        assert "82.0 is the best of 4 printed settings (k)" in found.message
        assert "3.00 points" in found.message


def test_within_the_sweep_the_second_best_counts() -> None:
    (found,) = findings({"s": OPTIMAL})
    assert found.cells[:2] == (BEST, "sweep[shapes.top1,four]")
    assert found.evidence["gain_exact"] == "1/100"
    assert found.verdict == "unsupported"  # E[max of 4] is 1.03 standard deviations of 1.21


def test_only_gains_of_the_best_setting_count() -> None:
    assert findings({"s": order(OURS, THEIRS)}, protocol=[]) == []  # not the same setting
    one, six = "sweep[shapes.top1,one]", "sweep[shapes.top1,six]"
    assert findings({"s": order(one, six)}) == []
    assert findings({}) == []


def test_every_number_of_images_stands_side_by_side() -> None:
    (found,) = findings({"s": order(OURS, THEIRS)}, inferred={OURS: (100,), THEIRS: (100,)})
    (also,) = found.evidence["also"]
    assert (also["images"], also["inside"]) == (100, True)
    assert found.evidence["images"] == 1000
    assert found.evidence["inside"] is False
    assert "inside the 0 to" in found.message


def test_without_a_test_set_nothing_is_bounded() -> None:
    (found,) = findings({"s": order(OURS, THEIRS)}, images=None, answers=answer("s"))
    assert found.verdict == "untestable"
    assert found.evidence["answers"] == ["It is a slip. (mail, 2024)"]
    big = {"one": {"shapes.top1": "180.0"}, "two": {"shapes.top1": "80.0"}}
    rows = {name: ROWS[name] for name in big}
    said = {"s": order("sweep[shapes.top1,one]", "sweep[shapes.top1,two]")}
    (found,) = check([case(table("sweep", big, rows=rows), statements=said)])
    assert found.verdict == "untestable"


def test_a_sweep_is_one_method_on_one_data_set_in_one_table() -> None:
    made = case(*TABLES, protocol=DEFAULT)
    (found,) = sweeps(made)
    assert [claim.cell for claim in found.claims] == AMONG
    best, others = ranked(made, found)
    assert [claim.printed for claim in best] == ["82.0"]
    assert [claim.printed for claim in others] == ["81.0", "78.0", "70.0"]
    assert found.knobs == "k"


def test_settings_that_may_be_the_best_are_the_best() -> None:
    """Equal ones, and one whose row was printed with fewer digits: 82 may be anything below 83."""

    def best_of(**printed: str) -> list[str]:
        cells = {name: {"shapes.top1": value} for name, value in printed.items()}
        rows = {name: {"recipe": "ours", "knobs": {"k": i}} for i, name in enumerate(cells)}
        made = case(table("sweep", cells, rows=rows))
        (found,) = sweeps(made)
        best, others = ranked(made, found)
        assert {claim.cell for claim in (*best, *others)} == {claim.cell for claim in found.claims}
        return [claim.printed for claim in best]

    assert best_of(a="82.0", b="82.0", c="81.7") == ["82.0", "82.0"]
    assert best_of(a="82.4", b="82", c="81.7") == ["82.4", "82"]
    assert best_of(a="82.4", b="82.3", c="82.2") == ["82.4", "82.3"]
    assert best_of(a="82.4", b="81", c="82.2") == ["82.4"]


def test_the_gain_of_a_best_that_is_equalled_is_looked_at() -> None:
    cells = {
        name: {"shapes.top1": v} for name, v in {"a": "82.0", "b": "82.0", "c": "81.0"}.items()
    }
    rows = {name: {"recipe": "ours", "knobs": {"k": i}} for i, name in enumerate(cells)}
    made = case(
        table("sweep", cells, rows=rows),
        statements={"s": order("sweep[shapes.top1,b]", "sweep[shapes.top1,c]")},
    )
    (found,) = check([made])
    assert (found.verdict, found.evidence["statement"]) == ("unsupported", "s")


def test_a_sweep_of_a_figure_is_untestable() -> None:
    drawn = {"kind": "trend", "knob": "k", "shape": "falls", "unprinted": "Figure 4 draws it."}
    (found,) = findings({"drawn": drawn})
    assert (found.verdict, found.evidence["statement"]) == ("untestable", "drawn")
    curve = ["sweep[shapes.top1,four]", "sweep[shapes.top1,six]"]
    printed = {"kind": "trend", "knob": "k", "shape": "falls", "curve": curve}
    assert findings({"printed": printed | {"values": ["4", "6"]}}) == []


def test_what_a_finding_says() -> None:
    (found,) = findings({"s": order(OURS, THEIRS)}, inferred={OURS: (100,), THEIRS: (100,)})
    assert found.message == (
        "82.0 against 79.0: 82.0 is the best of 4 printed settings (k). On 1,000 images (the test "
        "set of shapes) the gain of 3.00 points lies beyond the 0 to 1.24 that choosing alone can "
        "give. On 100 images (inferred from the printed numbers) the gain of 3.00 points lies "
        "inside the 0 to 3.88 that choosing alone can give."
    )
    assert found.check == "selection"
    assert found.evidence["statement"] == "s"
    assert found.evidence["statements"] == ["s"]
    (found,) = findings({"s": order(OURS, THEIRS)}, images=None)
    assert found.message == (
        "82.0 against 79.0: 82.0 is the best of 4 printed settings (k); no number of test images "
        "is known, so its optimism cannot be bounded."
    )
    assert found.check == "selection"
    drawn = {"kind": "trend", "knob": "k", "shape": "falls", "unprinted": "Figure 4 draws it."}
    (found,) = findings({"drawn": drawn}, answers=answer("drawn"))
    assert found.message == (
        "here: a sweep of k without printed numbers, so neither the settings compared nor the gain "
        "of the best can be counted."
    )
    assert found.check == "selection"
    assert found.evidence["answers"] == ["It is a slip. (mail, 2024)"]
