"""The plan: every claim is served or has its reason, every run is there once, no value is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from reclaim.records import Config, PretrainJob, ReclaimError, read, render
from reclaim.registry import extension, jobs, plan
from reclaim.registry.claims import ValueClaim, load_papers
from reclaim.registry.claims.files import OtherReading
from reclaim.registry.recipes import RECIPES, knobs_of, resolve_terms

SCALES = ("digits", "fashion", "paper")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workflow folder to spoil."""
    shutil.copytree("workflow", tmp_path / "workflow", symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize("scale", SCALES)
def test_every_value_claim_is_served_or_has_its_reason(scale: str) -> None:
    made, all_made = jobs.committed_plan(scale), jobs.committed_plan(scale, sweeps=True)
    claimed = {claim.id: claim for paper in load_papers().values() for claim in paper.cells()}
    served = {claim for run in made.runs for claim in run.claims}
    assert served | set(made.not_run) == set(claimed)
    assert not served & set(made.not_run)
    assert all(claimed[claim].knobs for claim in made.not_run)  # the sweeps alone
    assert not all_made.not_run
    assert {claim for run in all_made.runs for claim in run.claims} == set(claimed)


@pytest.mark.parametrize("scale", SCALES)
def test_the_committed_plan_is_the_one_the_claims_give(scale: str) -> None:
    for sweeps, made in zip((False, True), plan.build_plans(scale), strict=True):
        assert jobs.plan_path(scale, sweeps).read_text(encoding="utf-8") == render(made)


@pytest.mark.parametrize("scale", SCALES)
def test_every_run_is_there_once_with_its_seeds(scale: str) -> None:
    made, settings = jobs.committed_plan(scale), plan.load_scale(scale)
    assert len({run.id for run in made.runs}) == len(made.runs)
    assert len(made.runs) == settings.seeds * len(made.configs)
    assert len({render(config) for config in made.configs.values()}) == len(made.configs)
    if settings.transfer:
        assert {config.recipe for config in made.configs.values()} == set(RECIPES)


def test_shared_cells_share_their_runs() -> None:
    made = jobs.committed_plan("paper")
    cells = ("table3[cifar10.top1,hcl]", "table4[cifar10.top1,sampling]")
    [both] = {
        run.config for run in made.runs if all(f"dong2024:{cell}" in run.claims for cell in cells)
    }
    assert made.configs[both].recipe == "hcl"


def test_the_paper_scale_has_the_papers_values() -> None:
    made = jobs.committed_plan("paper")
    asked = {run.config for run in made.runs if any(c.startswith("dong2024") for c in run.claims)}
    config = {(c.recipe, c.dataset.name): c for k, c in made.configs.items() if k in asked}
    for dataset, prior in (("cifar10", 0.1), ("cifar100", 0.05), ("tiny_imagenet", 0.05)):
        sscl = config["sscl", dataset]
        assert [step.name for step in sscl.terms[0].steps] == ["mix_pairs", "harden", "debias"]
        mixed, hardened, debiased = (step.knobs for step in sscl.terms[0].steps)
        assert (mixed["hardest"], mixed["synthetics"], hardened["beta"]) == (32, 8, 1.0)
        assert debiased["prior"] == prior
        assert (sscl.epochs, sscl.batch, sscl.temperature) == (200, 256, 0.5)
        assert (sscl.optimiser.lr, sscl.optimiser.warmup_epochs) == (0.1, 20)
        assert (sscl.network.arch, sscl.network.head_out) == ("resnet18", 128)
    assert config["sscl", "cifar10"].network.stem == "cifar_maxpool"
    assert config["sscl", "tiny_imagenet"].network.stem == "imagenet"
    used = {name for run in made.runs if run.config in asked for name in run.protocols}
    assert {made.protocols[name].lr for name in used if name.startswith("linear")} == {10}


def test_the_paper_scale_has_the_values_of_the_other_papers() -> None:
    made = jobs.committed_plan("paper")

    def config(recipe: str, paper: str) -> Config:
        keys = {
            run.config
            for run in made.runs
            if (run.recipe, run.dataset) == (recipe, "cifar10")
            and any(claim.startswith(paper) for claim in run.claims)
        }
        [key] = keys
        return made.configs[key]

    moco, mochi = config("moco_sscl", "dong2024"), config("mochi", "dong2024")
    assert moco.twin is not None
    assert (moco.twin.queue, moco.twin.momentum, moco.twin.sees) == (16384, 0.99, "second")
    assert [step.knobs.get("hardest", 1024) for step in moco.terms[0].steps] == [1024] * 3
    assert [step.name for step in mochi.terms[0].steps] == ["mix_pairs", "mix_query"]
    liu = config("simclr_dino_enlarge", "liu2024")
    [enlarge] = liu.terms[0].steps
    assert enlarge.knobs == {"threshold": 0.75, "delta": 0.5, "unit_interval": False}
    assert (liu.network.arch, liu.optimiser.name, liu.batch) == ("resnet50", "lars", 96)
    assert (liu.optimiser.lr, liu.optimiser.weight_decay, liu.epochs) == (0.001, 1e-5, 200)
    assert {r.init for r in made.runs if r.recipe == "simclr_dino"} == {"weights/dino_resnet50"}
    psm = config("psm_released", "dong2023")
    assert psm.optimiser.weight_decay == 1e-3
    assert [term.pairing for term in psm.terms] == ["neighbour_group", "instance"]
    assert [term.steps[0].knobs["raw"] for term in psm.terms] == [False, True]


def test_cost_counts_views_and_scales_from_the_anchor() -> None:
    made = jobs.committed_plan("paper")
    [simclr] = {
        run.cost
        for run in made.runs
        if (run.recipe, run.dataset) == ("simclr", "cifar10") and "dong2024" in run.claims[0]
    }
    assert simclr.steps == 200 * 195
    assert simclr.images_seen == 200 * 195 * 256 * 2
    assert simclr.gpu_hours == 5.08
    assert all(run.cost.steps == 0 for run in made.runs if run.recipe == "untrained")


def test_only_what_a_setting_touches_gets_another_id(project: Path) -> None:
    before = {run.id for run in plan.build_plan("digits").runs}
    scale = project / "workflow/scales/digits.yaml"
    spoil(scale, "values:\n", "values:\n  knobs.beta: {value: 0.5, mark: scaled, why: a try}\n")
    after = {run.id for run in plan.build_plan("digits").runs}
    assert {run.split("-")[0] for run in before - after} == {"hcl", "sscl", "sscl_released"}


def test_a_further_seed_adds_runs_and_changes_none(project: Path) -> None:
    before = plan.build_plan("digits")
    spoil(project / "workflow/scales/digits.yaml", "seeds: 3", "seeds: 4")
    after = plan.build_plan("digits")
    assert set(before.runs) < set(after.runs)
    assert {run.seed for run in set(after.runs) - set(before.runs)} == {3}
    rows = extension.further(before, before, [(config, 3) for config in before.configs]).runs
    assert set(rows) == set(after.runs) - set(before.runs), "an extension has the same rows"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("temperature: {value: 0.5", "temperature: {value: 0.0", "temperature: .* greater than 0"),
        ("batch: {value: 128", "batch: {value: 1", "batch: .* greater than or equal to 2"),
        ("seeds: 3", "seeds: 0", "seeds: .* greater than or equal to 1"),
        ("mark: paper", "mark: guess", "mark: .*'paper', 'scaled' or 'assumed'"),
        ("transfer: true", "transfer: true\ncolour: red", "colour: Extra inputs"),
        ("values:\n", "values:\n  knobs.prior: {value: 1.0, mark: scaled, why: x}\n", r"\[0, 1\)"),
        ("values:\n", "values:\n  knobs.beta: {value: -1, mark: scaled, why: x}\n", r"\[0, inf\)"),
        ("values:\n", "values:\n  knobs.hardest: {value: 255, mark: scaled, why: x}\n", "254 neg"),
        ("values:\n", "values:\n  knobs.synthetics: {value: 255, mark: scaled, why: x}\n", "254"),
        ("values:\n", "values:\n  knobs.hardest: {value: 2.5, mark: scaled, why: x}\n", "1, 2, "),
        ("value: narrow", "value: vast", "network.arch"),
        ("value: digits,", "value: digist,", "digits"),
        ("epochs: {value: 30", "epochs: {value: -1", "epochs"),
        (
            "twin.queue: {value: 640",
            "twin.queue: {value: 641",
            "no multiple of the batch 128: take",
        ),
        ("twin.queue: {value: 640", "twin.queue: {value: 0", "twin.queue: .* greater than 0"),
        (
            "twin.momentum: {value: 0.99",
            "twin.momentum: {value: 1.1",
            "twin.momentum: .* equal to 1",
        ),
        (
            "values:\n",
            "values:\n  knobs.threshold: {value: 2.5, mark: scaled, why: x}\n",
            r"\[-1, 2\)",
        ),
        ("values:\n", "values:\n  knobs.delta: {value: -0.1, mark: scaled, why: x}\n", r"\[0, 2\)"),
        ("values:\n", "values:\n  knobs.neighbours: {value: 641, mark: scaled, why: x}\n", "640"),
        ("values:\n", "values:\n  knobs.query_mixes: {value: -1, mark: scaled, why: x}\n", "0, 1,"),
        ("[sscl_released, moco_v1, dino,", "[sscl_released, moco_v1,", "starts from 'dino'"),
        ("path: knobs.synthetics", "path: knobs.synthetic", "unknown setting 'knobs.synthetic'"),
        ("scale: digits", "scale: [", "digits.yaml"),
        ("op: random_resized_crop", "op: random_crop", "views.1.op"),
    ],
)
def test_a_setting_out_of_range_is_one_line(project: Path, old: str, new: str, words: str) -> None:
    spoil(project / "workflow/scales/digits.yaml", old, new)
    with pytest.raises(ReclaimError, match=words) as fault:
        plan.build_plan("digits")
    assert "\n" not in str(fault.value)


def test_unknown_names_are_answered_with_the_known_ones(project: Path) -> None:
    made = jobs.committed_plan("digits")
    with pytest.raises(ReclaimError, match="unknown scale 'digist'"):
        plan.build_plan("digist")
    with pytest.raises(ReclaimError, match="unknown scale 'x'; planned: digits, fashion, paper"):
        jobs.read_plan("x")
    with pytest.raises(ReclaimError, match=r"did you mean simclr-digits-[0-9a-f]{8}-s\d\?"):
        jobs.find_run(made.runs[0].id[:-1])
    with pytest.raises(ReclaimError, match="no recipe 'x' in plan 'digits'; it has: simclr"):
        jobs.runs_of(made, "x")
    with pytest.raises(ReclaimError, match="did you mean simclr"):
        resolve_terms("simclrr", 8, {})
    shutil.rmtree("workflow/plans")
    with pytest.raises(ReclaimError, match="run reclaim in the project's top folder"):
        jobs.committed_plan("digits")


def test_resolve_writes_only_what_changed(project: Path) -> None:
    results = project / "results"
    made = jobs.committed_plan("digits")
    tuned = [run for run in made.runs if any(p.startswith("fine_tune") for p in run.protocols)]
    assert len(jobs.resolve("digits", results)) == 2 * len(made.runs) + len(tuned)
    assert jobs.resolve("digits", results) == []
    path = results / "digits/jobs/hcl" / f"{jobs.runs_of(made, 'hcl')[0].id}.json"
    job = read(path, PretrainJob, "resolve")
    assert job.config.recipe == "hcl"
    path.write_text("{}", encoding="utf-8")
    assert jobs.resolve("digits", results) == [path]


def test_a_plan_of_another_schema_version_is_refused(project: Path) -> None:
    path = project / "workflow/plans/digits.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))
    with pytest.raises(ReclaimError, match="schema version 2, this reclaim reads 1; run `reclaim"):
        jobs.committed_plan("digits")


def test_dvc_has_a_stage_for_every_recipe_of_the_default_plan() -> None:
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    made = jobs.committed_plan(params["scale"])
    first = {run.recipe: run.init and run.init.split("-")[0] for run in made.runs}
    for group, source in (("recipes", None), ("from_dino", "dino")):
        assert list(params[group]) == [name for name in first if first[name] == source]
    assert set(first.values()) == {None, "dino"}
    assert {run.dataset for run in made.runs} == {params["dataset"]}


def test_recipes_name_steps_and_losses_that_exist() -> None:
    from reclaim.learning import candidates, objectives, steps

    for name in RECIPES:
        for term in resolve_terms(name, 8, {}):
            assert callable(getattr(objectives, term.loss))
            assert term.pairing is None or callable(getattr(candidates, term.pairing))
            assert all(callable(getattr(steps, step.name)) for step in term.steps)
    assert knobs_of("simclr") == ()
    assert knobs_of("sscl") == ("hardest", "synthetics", "mix", "beta", "prior")
    assert knobs_of("sscl_released") == ("hardest", "synthetics", "beta", "prior")
    assert "raw" in knobs_of("psm_released")


def test_a_row_s_own_default_gives_way_to_what_is_said() -> None:
    """As released the instance loss takes raw products, and the group loss always cosines."""

    def raw(**knobs: bool) -> list[object]:
        return [term.steps[0].knobs["raw"] for term in resolve_terms("psm_released", 8, knobs, 32)]

    assert raw() == [False, True]
    assert raw(raw=False) == raw(raw=True)[:1] * 2 == [False, False]


def test_a_paper_says_whether_both_views_pass_in_one() -> None:
    papers = load_papers()
    given = {path: entry.value for path, entry in plan.load_scale("paper").values.items()}

    def online(paper: str, name: str, **said: str) -> str:
        own = papers[paper].settings(name, "cifar10") | {"dataset.name": "cifar10"}
        return plan.resolve_config("paper", name, given | own | said).online

    for name in ("simclr", "dcl", "hcl", "sscl", "sscl_released", "sscl_synthesis_debias"):
        assert online("dong2024", name) == "apart"
    assert online("dong2024", "sscl", online="together") == "together"
    assert online("liu2024", "simclr") == online("dong2024", "supervised") == "together"
    assert online("dong2024", "moco_v2") == "first"
    with pytest.raises(ReclaimError, match=r"'moco_v2' .* online = 'apart' is another"):
        online("dong2024", "moco_v2", online="apart")


@pytest.mark.parametrize("scale", ["digits", "fashion", "paper"])
def test_one_rule_measures_every_run_in_all_ways_of_a_job(scale: str) -> None:
    """A rule asks for every frozen measurement at once, so a run has all of them."""
    made = jobs.committed_plan(scale, sweeps=True)
    for run in made.runs:
        kinds = {made.protocols[name].kind for name in run.protocols}
        assert kinds >= set(jobs.EVALUATIONS["evaluate"]), run.id


def test_a_config_survives_its_file() -> None:
    made = jobs.committed_plan("paper")
    for config in made.configs.values():
        assert Config.model_validate_json(render(config)) == config


# --- other readings of a paper -------------------------------------------------------------------


@dataclass(frozen=True)
class Read:
    """A claim under another reading, from the claims by themselves: its settings at paper scale as
    planned, what the reading says, and with what it is run."""

    claim: ValueClaim
    planned: dict[str, Any]
    says: dict[str, Any]
    runs: dict[str, Any]
    reading: OtherReading

    @property
    def name(self) -> str:
        return ", ".join(f"{path.removeprefix('knobs.')}={v}" for path, v in self.says.items())


def readings() -> Iterator[Read]:
    """Of every claim; claims that are run alike come once."""
    scale, seen = plan.load_scale("paper"), set()
    given = {path: entry.value for path, entry in scale.values.items()}
    for paper in load_papers().values():
        for claim in paper.cells():
            alike = (paper.id, claim.recipe, claim.dataset, claim.evaluation, str(claim.knobs))
            knobs = {f"knobs.{knob}": value for knob, value in claim.knobs.items()}
            place = {"dataset.name": claim.dataset}
            planned = given | place | paper.settings(claim.recipe, claim.dataset) | knobs
            for path, value in paper.protocol_of(claim.recipe, claim.dataset).items():
                for reading in value.readings if path not in knobs and alike not in seen else ():
                    says = {path: reading.value, **reading.also}
                    sets = {p: v for p, v in says.items() if p[:6] != "facts." and p not in knobs}
                    recipe = reading.recipe or claim.recipe
                    own = given | place | paper.settings(recipe, claim.dataset) | knobs
                    yield Read(claim, planned, says, own | sets, reading)
            seen.add(alike)


def test_each_reading_that_can_be_run_is_planned() -> None:
    made = jobs.committed_plan("paper", sweeps=True)
    run_of = {claim: run for run in reversed(made.runs) for claim in run.claims}
    first = {run.config: run for run in reversed(made.runs)}
    count = 0
    for one in readings():
        known, kind = made.readings[run_of[one.claim.id].config], one.claim.evaluation
        recipe = one.reading.recipe or one.claim.recipe
        nothing = one.reading.recipe is None and all(path[:6] == "facts." for path in one.says)
        if one.reading.no_run or nothing:
            assert one.name not in known
            continue
        stands = first[known[one.name].config]
        config = plan.resolve_config("paper", recipe, one.runs)
        assert made.configs[stands.config] == config
        [protocol] = plan.resolve_protocols(one.runs, [kind])
        [planned] = plan.resolve_protocols(one.planned, [kind])
        same = stands.config == run_of[one.claim.id].config and protocol != planned
        folder = jobs.reread_name(kind, one.name) if same else kind
        assert jobs.measures(made, stands)[folder] == protocol
        count += 1
    assert count > 300


def test_numbers_with_a_reading_that_nothing_here_runs_are_named() -> None:
    never: dict[tuple[str, str, str], set[str]] = {}
    for one in readings():
        facts = all(path[:6] == "facts." for path in one.says)
        if facts and one.reading.recipe is None and one.reading.no_run is None:
            place = one.claim.paper, one.claim.recipe, one.claim.dataset
            never.setdefault(place, set()).add(one.name)
    claims = [claim for paper in load_papers().values() for claim in paper.cells()]
    places = {claim.id: (claim.paper, claim.recipe, claim.dataset) for claim in claims}
    expected = {name: never[place] for name, place in places.items() if place in never}
    assert {name: set(r) for name, r in plan.with_unrunnable_readings().items()} == expected
    assert 0 < len(expected) < len(claims) / 2


def test_what_no_run_can_take_is_said_and_true() -> None:
    """A queue that the batch does not divide."""
    [queue] = {read.says["twin.queue"]: read for read in readings()
               if read.reading.no_run and "twin.queue" in read.says}.values()  # fmt: skip
    with pytest.raises(ReclaimError, match="no multiple of the batch"):
        plan.resolve_config("paper", queue.claim.recipe, queue.planned | queue.says)


def test_a_row_of_a_sweep_keeps_its_own_knob_under_a_reading_that_sets_it_besides() -> None:
    """SSCL with other numbers of synthetic negatives: the reading is 64 hardest and 32 of them."""
    [paper] = [paper for paper in load_papers().values() if paper.id == "dong2024"]
    name = "hardest=64, synthetics=32"
    found = {
        knobs: next(r for r in paper.readings("sscl", "cifar10", knobs) if r.name == name).settings
        for knobs in ((), ("synthetics",))
    }
    assert found[()] == {"knobs.hardest": 64, "knobs.synthetics": 32}
    assert found["synthetics",] == {"knobs.hardest": 64}
    assert name not in [r.name for r in paper.readings("sscl", "cifar10", ("hardest",))]


def test_a_scale_of_transfer_plans_no_readings_of_papers(project: Path) -> None:
    assert not jobs.committed_plan("fashion", sweeps=True).readings
    spoil(
        project / "workflow/scales/digits.yaml", "transfer: true", "transfer: true\nreadings: true"
    )
    with pytest.raises(
        ReclaimError, match=r"digits\.yaml.*charges no paper, so it has no readings"
    ):
        plan.build_plan("digits")
