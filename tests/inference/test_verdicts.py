"""Every rule of the judge on a made-up paper whose answers are known."""

import json
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reclaim.inference.measurements import render
from reclaim.inference.verdicts import judge, judge_scale, judged
from reclaim.inference.verdicts.values import order_word
from reclaim.records import ReclaimError, SeedsWanted, Verdict, Verdicts
from reclaim.records import render as text_of
from reclaim.registry.claims import Paper
from tests.inference.made_up import BASE, Values, frame_of, papers, plan_of

WHY = "recipe moco_v2 needs a queue"


@pytest.mark.parametrize(
    ("p", "holds", "word"),
    [
        (0.049, True, "reproduced"),
        (0.049, False, "not reproduced"),
        (0.05, True, "compatible, imprecise"),
        (0.05, False, "compatible, imprecise"),
    ],
)
def test_the_ladder_of_an_order(p: float, holds: bool, word: str) -> None:
    assert order_word(p, holds) == word


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Paper]:
    return papers(tmp_path_factory.mktemp("claims"))


def verdicts(
    paper: dict[str, Paper], scale: str = "digits", values: Values = BASE
) -> dict[str, Verdict]:
    """Verdicts by claim without the paper's name."""
    made = judge(scale, paper, plan_of(scale, paper, values, moco_v2=WHY), frame_of(scale, values))
    return {verdict.claim.removeprefix("made_up:"): verdict for verdict in made.verdicts}


MORE: Values = {
    name: {
        metric: [*numbers, *(sum(numbers) / 4 + d for d in (0.1, -0.1, 0.15, -0.15, 0.05, -0.05))]
        for metric, numbers in metrics.items()
    }
    for name, metrics in BASE.items()
}
"""Ten seeds: as `BASE`, and six more about the same means."""


def unadjusted(verdict: Verdict) -> Verdict:
    """A verdict without what the other claims of its paper have a say in."""
    blank = {"verdict": "", "order": None, "size": None, "notes": ()}
    names = ("p_adjusted", "tost_p_adjusted", "order_p_adjusted", "p_overview", "order_p_overview")
    adjusted = dict.fromkeys(names)
    return verdict.model_copy(update=blank | adjusted)


def cell(recipe: str, metric: str = "top1") -> str:
    return f"main[cifar10.{metric},{recipe}]"


def test_every_claim_has_exactly_one_verdict_measured_or_not(paper: dict[str, Paper]) -> None:
    claims = [claim.id for one in paper.values() for claim in one.claims]
    for values in (BASE, {"simclr": BASE["simclr"]}):
        for scale in ("digits", "paper"):
            found = judge(scale, paper, plan_of(scale, paper, values), frame_of(scale, values))
            assert [verdict.claim for verdict in found.verdicts] == claims
    assert Counter(claims).most_common(1)[0][1] == 1


def test_at_a_transfer_scale_no_verdict_is_about_the_paper(paper: dict[str, Paper]) -> None:
    for verdict in verdicts(paper).values():
        assert verdict.verdict.startswith("untestable: ")
        assert (verdict.transfer is not None) == (verdict.verdict == "untestable: transfer scale")
        assert (verdict.transfer is not None) == bool(verdict.runs)


def test_a_printed_number_at_a_transfer_scale(paper: dict[str, Paper]) -> None:
    found = verdicts(paper)[cell("hcl")]
    test = stats.ttest_rel(BASE["hcl"]["top1"], BASE["simclr"]["top1"])
    low, high = test.confidence_interval(0.95)
    assert found.transfer == "holds"
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), rel=1e-9)
    assert found.difference == pytest.approx(1.9)
    assert (found.mean, found.seeds, found.printed) == (pytest.approx(82.025), 4, "82.50")
    assert found.sd == pytest.approx(stats.tstd(BASE["hcl"]["top1"]))
    assert found.direction == f"printed +2.50, measured +1.90 [+{low:.2f}, +{high:.2f}]"
    assert found.runs == ("hcl-s0", "hcl-s1", "hcl-s2", "hcl-s3")


def test_reversed_open_baseline_and_not_run(paper: dict[str, Paper]) -> None:
    found = verdicts(paper)
    assert found[cell("sscl")].transfer == "reversed"  # printed below simclr, measured above
    assert found[cell("hcl", "top5")].transfer == "open"
    assert found[cell("sscl", "top5")].transfer == "holds"
    assert found[cell("simclr")].transfer == "open"
    assert found[cell("simclr")].difference is None
    missing = found[cell("moco_v2")]
    assert missing.verdict == f"untestable: not run: {WHY}"
    assert (missing.transfer, missing.mean, missing.seeds, missing.runs) == (None, None, 0, ())


def test_one_seed_is_open(paper: dict[str, Paper]) -> None:
    one = {name: {m: v[:1] for m, v in metrics.items()} for name, metrics in BASE.items()}
    found = verdicts(paper, values=one)[cell("hcl")]
    assert (found.transfer, found.interval, found.sd) == ("open", None, None)
    assert found.direction == "printed +2.50, measured +1.90 (one seed)"


def test_seeds_that_all_differ_by_the_same_amount_are_open(paper: dict[str, Paper]) -> None:
    same = {"simclr": BASE["simclr"], "hcl": {"top1": [n + 1 for n in BASE["simclr"]["top1"]]}}
    found = verdicts(paper, values=same)[cell("hcl")]
    assert found.transfer == "open"
    assert found.direction == "printed +2.50, measured +1.00 (no seed variation)"


def test_only_seeds_that_both_have_are_compared(paper: dict[str, Paper]) -> None:
    fewer = BASE | {"hcl": {"top1": BASE["hcl"]["top1"][:3]}}
    found = verdicts(paper, values=fewer)[cell("hcl")]
    test = stats.ttest_rel(BASE["hcl"]["top1"][:3], BASE["simclr"]["top1"][:3])
    assert found.interval is not None
    assert found.interval.low == pytest.approx(test.confidence_interval(0.95)[0], rel=1e-9)


@pytest.mark.parametrize(
    ("name", "transfer"),
    [
        ("gap", "holds"),  # hcl above simclr
        ("gap_below", "reversed"),  # sscl said below simclr, measured above
        ("gap_nil", "open"),  # hcl is above sscl, but no direction is claimed
        ("best", "open"),  # one rival was not run
        ("best_measured", "holds"),
        ("best_mostly", "holds"),  # three of four; the top-5 lead over simclr is open
        ("order", "reversed"),  # reversed for top-1, holds for top-5
        ("drop", "reversed"),
        ("nothing", "open"),
        ("peak", "holds"),
        ("rises", "reversed"),
        ("unsteady", "holds"),
        ("again", "holds"),
        ("total", "open"),
        ("picture", None),
    ],
)
def test_statements_at_a_transfer_scale(
    paper: dict[str, Paper], name: str, transfer: str | None
) -> None:
    assert verdicts(paper)[name].transfer == transfer


def test_a_statement_says_what_was_compared(paper: dict[str, Paper]) -> None:
    found = verdicts(paper)
    assert found["best"].direction is not None
    assert found["best"].direction.startswith(
        "3 comparisons (2 hold, 1 not measured): hcl − simclr"
    )
    assert found["gap"].difference == pytest.approx(1.9)
    below = found["gap_below"]  # sscl − simclr, as it is printed
    assert below.difference == pytest.approx(0.925)
    assert below.direction is not None
    assert below.direction.startswith("sscl − simclr, top1: +0.9")
    assert below.effect is not None
    assert below.effect.g > 0
    assert found["picture"].verdict == "untestable: no number printed: A picture."
    assert found["again"].printed == "82.5"
    assert found["best"].runs[0] == "hcl-s0"


def test_a_statement_none_of_which_was_measured_is_not_run(paper: dict[str, Paper]) -> None:
    found = verdicts(paper, values={"simclr": BASE["simclr"]})
    assert found["gap"].verdict == "untestable: not run: no run of this plan serves it"
    assert found["peak"].transfer is None


def test_what_stands_at_paper_scale_without_a_margin(paper: dict[str, Paper]) -> None:
    found = verdicts(paper, "paper", MORE)
    assert {verdict.transfer for verdict in found.values()} == {None}
    assert {verdict.tost_p for verdict in found.values()} == {None}
    assert found[cell("hcl")].verdict == "compatible, imprecise"
    assert found[cell("sscl")].verdict == "not reproduced"
    assert found["again"].verdict == "compatible, imprecise"
    assert found["total"].verdict == "untestable: claims no order"
    assert found["nothing"].verdict == "compatible, imprecise"  # no margin, so nothing is nil
    assert found["best"].verdict == f"untestable: not run: {WHY}"
    assert found["best_measured"].verdict == "reproduced"
    assert (found["gap"].order, found["gap"].size) == ("reproduced", "compatible, imprecise")
    assert found["gap"].verdict == "compatible, imprecise"  # the worse of the two
    assert (found["gap_below"].order, found["gap_below"].verdict) == ("not reproduced",) * 2
    assert (found["gap_nil"].order, found["gap_nil"].size) == (None, "compatible, imprecise")
    assert found["rises"].verdict == "not reproduced"


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ([82.0], "untestable: one seed"),
        ([82.0, 82.0], "untestable: no seed variation"),
        ([81.0, 82.0], "compatible, imprecise"),
    ],
)
def test_too_few_seeds_at_paper_scale(
    paper: dict[str, Paper], numbers: list[float], verdict: str
) -> None:
    assert verdicts(paper, "paper", {"hcl": {"top1": numbers}})[cell("hcl")].verdict == verdict


def test_rounding_counts_for_the_paper(paper: dict[str, Paper]) -> None:
    """The bound of the prediction interval lies within what 82.50 hides, or just beyond it."""
    sd = 0.2 / 2**0.5  # of two values 0.2 apart
    edge = 82.5 - stats.t.ppf(0.975, 1) * sd * 1.5**0.5
    for shift, different in ((-0.004, False), (-0.006, True)):
        middle = edge + shift
        values = {"hcl": {"top1": [middle - 0.1, middle + 0.1]}}
        found = verdicts(paper, "paper", values)[cell("hcl")]
        assert found.p is not None
        assert (found.p < 0.05) == different


def test_planned_but_not_measured(paper: dict[str, Paper]) -> None:
    frame = frame_of("digits", {"simclr": BASE["simclr"]})
    found = judge("digits", paper, plan_of("digits", paper, BASE), frame).verdicts
    by_claim = {verdict.claim: verdict.verdict for verdict in found}
    assert (
        by_claim["made_up:" + cell("hcl")] == "untestable: not run: planned, but not measured yet"
    )


@pytest.mark.parametrize(("claimed", "measured"), [("linear", "knn"), ("knn", "linear")])
def test_only_the_protocol_that_a_claim_names_is_taken(
    tmp_path: Path, claimed: str, measured: str
) -> None:
    paper = papers(tmp_path, claimed)
    plan = plan_of("digits", paper, BASE)
    other = judge("digits", paper, plan, frame_of("digits", BASE, measured)).verdicts
    assert all(verdict.mean is None for verdict in other)
    same = judge("digits", paper, plan, frame_of("digits", BASE, claimed)).verdicts
    assert any(verdict.mean is not None for verdict in same)


def test_a_sweeps_runs_are_no_evidence_for_planned_numbers(paper: dict[str, Paper]) -> None:
    for scale in ("digits", "paper"):
        planned = {name: values for name, values in BASE.items() if "-" not in name}
        alone, beside = verdicts(paper, scale, planned), verdicts(paper, scale)
        other = BASE | {"sscl-2": {"top1": [10.0, 11.0, 12.0, 10.5]}}
        moved = verdicts(paper, scale, other)
        swept = {
            "peak",
            "rises",
            "unsteady",
            *(f"sweep[top1,{n}]" for n in ("one", "two", "three")),
        }
        for name in alone.keys() - swept:
            assert unadjusted(alone[name]) == unadjusted(beside[name]) == unadjusted(moved[name])
        assert beside["sweep[top1,two]"].mean == pytest.approx(82.05)
        assert beside["sweep[top1,two]"].runs == tuple(f"sscl-2-s{seed}" for seed in range(4))
        assert moved["sweep[top1,two]"].mean == pytest.approx(10.875)
        assert (beside["peak"] == moved["peak"]) is False


def test_a_sweep_that_was_not_run_says_why(paper: dict[str, Paper]) -> None:
    why = "a sweep, planned apart"
    claim = "made_up:sweep[top1,one]"
    plan = plan_of("digits", paper, BASE).model_copy(update={"not_run": {claim: why}})
    measured = {name: values for name, values in BASE.items() if name != "sscl-1"}
    found = judge("digits", paper, plan, frame_of("digits", measured)).verdicts
    by_claim = {verdict.claim: verdict for verdict in found}
    assert by_claim[claim].verdict == f"untestable: not run: {why}"
    later = judge("digits", paper, plan, frame_of("digits", BASE)).verdicts
    assert next(v for v in later if v.claim == claim).mean == pytest.approx(80.05)


def test_a_claim_is_judged_by_its_own_evaluation(paper: dict[str, Paper]) -> None:
    tuned = {
        "simclr": {"top1": [88.0, 88.4, 88.1, 88.3]},
        "hcl": {"top1": [89.9, 90.3, 89.8, 90.4]},
    }
    plan = plan_of("digits", paper, BASE)
    both = pd.concat([frame_of("digits", BASE), frame_of("digits", tuned, "fine_tune")])
    alone, beside = (
        {verdict.claim.removeprefix("made_up:"): verdict for verdict in
         judge("digits", paper, plan, frame).verdicts}
        for frame in (frame_of("digits", BASE), both)
    )  # fmt: skip
    assert alone["tuned[top1,hcl]"].verdict == "untestable: not run: planned, but not measured yet"
    assert alone["tuning"].transfer is None
    assert beside["tuned[top1,hcl]"].mean == pytest.approx(90.1)
    assert beside["tuned[top1,hcl]"].difference == pytest.approx(1.9)
    assert unadjusted(beside[cell("hcl")]) == unadjusted(alone[cell("hcl")])
    # The same runs, measured in two ways, can be compared.
    assert beside["tuning"].difference == pytest.approx(90.1 - 82.025)
    assert beside["tuning"].transfer == "holds"


def test_another_scale_or_a_run_without_a_plan_is_refused(paper: dict[str, Paper]) -> None:
    plan = plan_of("digits", paper, BASE)
    with pytest.raises(ReclaimError, match="asked to judge 'fashion'"):
        judge("fashion", paper, plan, frame_of("fashion", BASE))
    fewer = plan_of("digits", paper, {"simclr": BASE["simclr"]})
    with pytest.raises(ReclaimError, match=r"line \d+: a measurement without a run in the plan"):
        judge("digits", paper, fewer, frame_of("digits", BASE))


def test_the_order_of_rows_does_not_matter(paper: dict[str, Paper]) -> None:
    plan, frame = plan_of("digits", paper, BASE), frame_of("digits", BASE)
    shuffled = frame.sample(frac=1, random_state=3)
    assert judge("digits", paper, plan, frame) == judge("digits", paper, plan, shuffled)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paper: dict[str, Paper]) -> Path:
    """A project folder with the made-up plan and measurements, and the claims loaded from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("reclaim.inference.verdicts.scale.load_papers", lambda: paper)
    (tmp_path / "workflow" / "plans").mkdir(parents=True)
    (tmp_path / "results" / "digits").mkdir(parents=True)
    plan = plan_of("digits", paper, BASE)
    (tmp_path / "workflow" / "plans" / "digits.json").write_text(text_of(plan))
    table = tmp_path / "results" / "digits" / "measurements.csv"
    table.write_text(render(frame_of("digits", BASE)))
    return table


def test_judging_a_scale_writes_what_is_read_back(project: Path) -> None:
    path = judge_scale("digits")
    assert path == Path("results/digits/verdicts.json")
    verdicts, measured, quality = judged("digits")
    text = path.read_text()
    assert Verdicts.model_validate(json.loads(text)) == verdicts
    pretty = json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"
    assert len(text.splitlines()) == len(pretty.splitlines())  # to be compared line by line
    assert len(measured) == 4 * (2 * 3 + 3)
    assert set(quality["recipe"]) == {"simclr", "hcl", "sscl"}


def test_verdicts_name_the_file_that_was_judged(project: Path) -> None:
    sorted_rows = project.read_text()
    head, *rows = sorted_rows.splitlines()
    project.write_text("\n".join([head, *reversed(rows), ""]))
    judge_scale("digits")
    assert judged("digits")[0].measurements == sha256(project.read_bytes()).hexdigest()
    project.write_text(sorted_rows)
    with pytest.raises(ReclaimError, match="not made from the present measurements"):
        judged("digits")


def test_a_scale_is_judged_with_its_sweeps_as_far_as_they_were_run(
    project: Path, paper: dict[str, Paper]
) -> None:
    whole = plan_of("digits", paper, BASE)
    swept = {claim for run in whole.runs if run.variant for claim in run.claims}
    parts = {
        "digits.json": {
            "runs": tuple(run for run in whole.runs if not run.variant),
            "not_run": dict.fromkeys(swept, "planned apart"),
        },
        "digits.sweeps.json": {"runs": tuple(run for run in whole.runs if run.variant)},
    }
    for name, update in parts.items():
        Path("workflow/plans", name).write_text(text_of(whole.model_copy(update=update)))
    measured = {name: values for name, values in BASE.items() if name != "sscl-1"}
    project.write_text(render(frame_of("digits", measured)))
    judge_scale("digits")
    found = {verdict.claim: verdict for verdict in judged("digits")[0].verdicts}
    assert found["made_up:sweep[top1,one]"].verdict == "untestable: not run: planned apart"
    assert found["made_up:sweep[top1,two]"].mean == pytest.approx(82.05)
    quality = judged("digits")[2]
    assert set(quality.loc[quality["variant"] != "", "config"]) == {"sscl-2", "sscl-3"}


def test_a_rehearsal_is_not_judged(project: Path) -> None:
    for work in (judge_scale, judged):
        with pytest.raises(ReclaimError, match="a rehearsal measures nothing"):
            work("rehearsal")


def test_stale_verdicts_and_faulty_measurements_overwrite_nothing(project: Path) -> None:
    path = judge_scale("digits")
    before = path.read_bytes()
    changed = BASE | {"hcl": {"top1": [50.0] * 4}}
    project.write_text(render(frame_of("digits", changed)))
    with pytest.raises(ReclaimError, match="not made from the present measurements"):
        judged("digits")
    project.write_text(project.read_text().replace("0.5", "5.0"))
    with pytest.raises(ReclaimError, match="an accuracy lies in"):
        judge_scale("digits")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hcl-s1,", "hcl-s9,", "a measurement without a run in the plan of 'digits'"),
        ("hcl-s0,hcl,made,0,linear,top1,0.82", "hcl-s0,hcl,made,0,linear,top1,nan",
         "value is not a finite number"),
        ("0.82,c0de", "82.0,c0de", "an accuracy lies in [0, 1]"),
        (",made,0,linear,top5", ",made,0,linear,top1", "a second row for the same run"),
    ],
)  # fmt: skip
def test_bad_rows_are_one_line_and_write_nothing(
    project: Path, old: str, new: str, message: str
) -> None:
    text = project.read_text()
    assert old in text
    project.write_text(text.replace(old, new, 1))
    with pytest.raises(ReclaimError) as caught:
        judge_scale("digits")
    assert str(caught.value).startswith("results/digits/measurements.csv: line ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in project.parent.iterdir()) == ["measurements.csv"]


def test_a_missing_seed_is_named_and_a_missing_end_is_not(project: Path) -> None:
    lines = project.read_text().splitlines(keepends=True)
    project.write_text("".join(line for line in lines if ",hcl-s2," not in line))
    with pytest.raises(ReclaimError, match=r"line \d+: linear: seed 2 is missing before .* seed 3"):
        judge_scale("digits")
    project.write_text("".join(line for line in lines if ",hcl-s3," not in line))
    judge_scale("digits")
    found = {verdict.claim: verdict for verdict in judged("digits")[0].verdicts}
    few = found["made_up:" + cell("hcl")]
    assert (few.seeds, few.notes) == (3, ("3 of 4 planned seeds",))


def test_what_is_open_asks_for_seeds(project: Path) -> None:
    judge_scale("digits")
    wanted = SeedsWanted.model_validate(
        json.loads((project.parent / "seeds_wanted.json").read_text())
    )
    claim = "made_up:" + cell("hcl", "top5")
    differences = [a - b for a, b in zip(BASE["hcl"]["top5"], BASE["simclr"]["top5"], strict=True)]
    assert sum(differences) == pytest.approx(0)
    assert wanted.claims[claim] == "none: more than 1000" or "none" in str(wanted.claims[claim])
    transfers = {verdict.claim: verdict.transfer for verdict in judged("digits")[0].verdicts}
    assert {transfers[claim] for claim in wanted.claims} == {"open"}


def test_seeds_wanted_would_settle_what_they_are_wanted_for(project: Path) -> None:
    """Power by simulation: of that many seeds 80 % show the difference that was measured."""
    close = BASE | {"hcl": {"top1": [80.6, 80.1, 80.2, 80.4], "top5": BASE["hcl"]["top5"]}}
    project.write_text(render(frame_of("digits", close)))
    judge_scale("digits")
    wanted = SeedsWanted.model_validate(
        json.loads((project.parent / "seeds_wanted.json").read_text())
    )
    seeds = wanted.claims["made_up:" + cell("hcl")]
    assert isinstance(seeds, int)
    assert seeds > 4
    assert wanted.configs["hcl"] >= seeds
    assert wanted.configs["simclr"] >= seeds
    gaps = [a - b for a, b in zip(close["hcl"]["top1"], BASE["simclr"]["top1"], strict=True)]
    rng = np.random.default_rng(0)
    draws = rng.normal(np.mean(gaps), np.std(gaps, ddof=1), (4000, seeds))
    seen = stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
    assert 0.78 <= seen.mean() <= 0.9
