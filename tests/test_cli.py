"""The command line: every verb helps with an example; a fault is one line and exit status 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reclaim import cli
from reclaim.records import SeedsWanted, write
from reclaim.registry.jobs import committed_plan

RECLAIM = Path(sys.executable).parent / "reclaim"
VERBS = (
    "plan", "resolve", "pretrain", "evaluate", "gather", "judge", "report", "bundle", "verify",
    "compare", "clean",
)  # fmt: skip


@pytest.mark.parametrize("verb", [*VERBS, "fetch data", "fetch weights"])
def test_every_verb_shows_an_example(verb: str) -> None:
    shown = CliRunner().invoke(cli.app, [*verb.split(), "--help"])
    assert shown.exit_code == 0
    assert f"Example: reclaim {verb}" in shown.output


def test_outside_of_a_project_nothing_is_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, ["clean"])
    assert "run reclaim in the project's top folder" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("plan --scale digist", "unknown scale 'digist'; known: digits, fashion, paper"),
        ("plan --extend", "results/digits/seeds_wanted.json: not found; run `reclaim judge"),
        ("plan --extend --scale digist", "unknown scale 'digist'; planned: digits, fashion, paper"),
        ("plan --extend --check", "--seeds goes with --extend, and --check with neither"),
        ("plan --seeds 9", "--seeds goes with --extend, and --check with neither"),
        ("resolve --scale digist", "unknown scale 'digist'; planned: digits, fashion, paper"),
        ("resolve --scale digits.sweeps", "unknown scale 'digits.sweeps'; planned: digits"),
        ("fetch data digist", "digits"),
        (
            "fetch weights dino_resnet",
            "weights 'dino_resnet' are not known; did you mean dino_resnet50? known:",
        ),
        ("pretrain", "name a run, or a recipe with --recipe"),
        ("evaluate a b", "one run at a time, not a, b; or name a --recipe"),
        ("pretrain --recipe simclr --scale digist", "unknown scale 'digist'"),
        ("pretrain x --recipe simclr", "and not both"),
        ("pretrain simclr-digits-s0", "unknown run 'simclr-digits-s0': did you mean simclr-digits"),
        ("pretrain --recipe simclrr", "no recipe 'simclrr' in plan 'digits'; it has: simclr"),
        ("evaluate --recipe simclr --protocol lin", "unknown protocol 'lin'; known: linear, knn"),
        ("gather --scale digist", "unknown scale 'digist'"),
        ("evaluate x --recipe simclr", "and not both"),
        ("judge --scale digist", "unknown scale 'digist'"),
        ("report --scale digist", "unknown scale 'digist'"),
        ("bundle", "results/digits/measurements.csv: not readable"),
        ("clean --scale digist", "unknown scale 'digist'"),
        ("compare a b", "a/bundle.json: not found"),
        ("verify a", "a/bundle.json: not found; get the file again, or run `reclaim bundle`"),
        ("verify a --scale digits", "name a folder to check its bundle, or a --scale"),
        (
            "verify --scale paper",
            "results/data/cifar10/manifest.json: not found; run `reclaim fetch",
        ),
    ],
)
def test_a_fault_is_one_line_and_status_2(arguments: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "workflow").symlink_to(Path("workflow").resolve())
    done = subprocess.run(
        [RECLAIM, *arguments.split()], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("reclaim: ")
    assert words in line
    assert [path.name for path in tmp_path.iterdir()] in (["workflow"], ["workflow", "results"])


def test_plan_adds_the_seeds_that_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workflow").symlink_to(Path("workflow").resolve())
    monkeypatch.chdir(tmp_path)
    committed = {path: path.read_bytes() for path in Path("workflow/plans").iterdir()}
    run = next(run for run in committed_plan("digits").runs if run.recipe == "simclr_dino")
    wanted = SeedsWanted(scale="digits", configs={run.config: 5})
    write(Path("results/digits/seeds_wanted.json"), wanted)
    shown = CliRunner().invoke(cli.app, ["plan", "--extend"])
    assert shown.exit_code == 0
    assert "results/digits/plan.json: 4 runs beside the committed plan" in shown.output
    assert {path: path.read_bytes() for path in committed} == committed
    shown = CliRunner().invoke(cli.app, ["resolve"])
    assert Path(f"results/digits/jobs/simclr_dino/{run.config}-s4.json").is_file()
    wanted = SeedsWanted(scale="fashion", configs={})
    write(Path("results/fashion/seeds_wanted.json"), wanted)
    shown = CliRunner().invoke(cli.app, ["plan", "--extend", "--scale", "fashion"])
    assert shown.output == "no open claim wants more seeds than are planned\n"


def test_a_verb_that_needs_no_training_brings_no_torch() -> None:
    for verb in ("plan --check", "--help"):
        code = (
            f"import sys; sys.argv = ['reclaim', *{verb.split()!r}]\n"
            "from reclaim.cli import main\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
            "assert 'torch' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
