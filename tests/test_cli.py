"""The command line: every verb helps with an example; a fault is one line and exit status 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reclaim import cli

RECLAIM = Path(sys.executable).parent / "reclaim"
VERBS = ("plan", "resolve", "pretrain", "evaluate", "gather", "judge", "verify", "report")


@pytest.mark.parametrize("verb", [*VERBS, "fetch data", "fetch weights"])
def test_every_verb_shows_an_example(verb: str) -> None:
    shown = CliRunner().invoke(cli.app, [*verb.split(), "--help"])
    assert shown.exit_code == 0
    assert f"Example: reclaim {verb}" in shown.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("plan --scale digist", "unknown scale 'digist'; known: digits, fashion, paper"),
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


def test_a_verb_that_needs_no_training_brings_no_torch() -> None:
    for verb in ("plan --check", "--help"):
        code = (
            f"import sys; sys.argv = ['reclaim', *{verb.split()!r}]\n"
            "from reclaim.cli import main\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
            "assert 'torch' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
