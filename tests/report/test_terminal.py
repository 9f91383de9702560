"""What a terminal shows, read back as text."""

import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from reclaim.inference.controls import controls
from reclaim.inference.verdicts import judge
from reclaim.report.numbers import bracketed, plain, signed
from reclaim.report.terminal import print_table
from tests.inference.made_up import BASE, Values, frame_of, papers, plan_of

UNTRAINED = {"untrained": {"top1": [70.0, 71.0, 69.5, 70.2]}}


def shown(root: Path, scale: str, width: int = 80, seeds: int = 4) -> str:
    values = {name: BASE[name] for name in ("simclr", "hcl", "sscl")} | UNTRAINED
    values = {name: {m: v[:seeds] for m, v in of.items()} for name, of in values.items()}
    paper, frame = papers(root), frame_of(scale, values)
    console = Console(width=width, record=True, file=io.StringIO())
    plan = plan_of(scale, paper, values, moco_v2="a queue")
    print_table(judge(scale, paper, plan, frame), controls(frame, plan), console)
    return console.export_text()


def line(text: str, start: str) -> list[str]:
    return next(row.split() for row in text.splitlines() if row.startswith(start))


def test_a_line_per_recipe_and_what_its_numbers_say(tmp_path: Path) -> None:
    text = shown(tmp_path, "digits")
    assert line(text, "recipe")[-3:] == ["holds", "reversed", "open"]
    assert line(text, "hcl")[:2] == ["hcl", "82.03±0.25"]
    assert line(text, "hcl")[-3:] == ["2", "0", "1"]  # one number is printed twice
    assert line(text, "sscl")[-3:] == ["1", "1", "0"]
    assert line(text, "untrained") == ["untrained", "70.17±0.62", "–"]
    assert "untestable: transfer scale" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    assert line(shown(tmp_path, "digits", seeds=1), "hcl")[:3] == ["hcl", "82.00", "+12.00"]


MANY = [f"a_rather_long_recipe_{n}" for n in range(25)]


def test_it_stays_readable_with_many_recipes_and_names_what_needs_a_look(tmp_path: Path) -> None:
    values: Values = {
        **{name: {"top1": [80.0 + n, 80.5 + n, 80.2 + n]} for n, name in enumerate(MANY)},
        **UNTRAINED, MANY[3]: {"top1": [70.2, 70.9, 69.6]}, MANY[4]: {"top1": [60.0, 60.3, 59.6]},
        f"{MANY[5]}-k=2": {"top1": [10.0, 10.5, 10.7]},
    }  # fmt: skip
    paper, plan = papers(tmp_path), plan_of("digits", {}, values)
    runs = tuple(
        run.model_copy(update={"init": f"{MANY[0]}-s{run.seed}"}) if run.recipe == MANY[1] else run
        for run in plan.runs
    )
    plan = plan.model_copy(update={"runs": runs})
    tuned = {name: values[name] for name in MANY[:2]}
    frame = pd.concat([frame_of("digits", values), frame_of("digits", tuned, "fine_tune")])
    console = Console(width=80, record=True, file=io.StringIO())
    print_table(judge("digits", paper, plan, frame), controls(frame, plan), console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert f"not above untrained (linear top-1): {MANY[3]}" in text
    assert f"below untrained (linear top-1): {MANY[4]}" in text
    assert f"{MANY[1]} − {MANY[0]}, where it starts: +1.00" in text
    assert "Sweeps: 1 measured" in text
    assert sum(row.startswith(f"{MANY[5]} ") for row in text.splitlines()) == 1
    assert "10.40" not in text  # the sweep's mean, or one with the planned
    tuned_part = text[text.index("fine-tuned top-1") :].splitlines()[1:3]
    assert [row.split()[0] for row in tuned_part] == MANY[:2]


def test_paper_scale_shows_the_ladder(tmp_path: Path) -> None:
    text = shown(tmp_path, "paper", 120)
    assert "not reproduced" in text
    assert "Transfer evidence" not in text


@pytest.mark.parametrize(
    ("number", "without", "with_sign"),
    [
        (1.005, "1.00", "+1.00"),
        (-0.5, "−0.50", "−0.50"),
        (None, "–", "–"),
        (float("nan"), "–", "–"),
    ],
)
def test_numbers(number: float | None, without: str, with_sign: str) -> None:
    assert (plain(number), signed(number)) == (without, with_sign)


def test_intervals() -> None:
    assert bracketed(-0.5, 1) == "[−0.50, +1.00]"
    assert bracketed(None, 1) == ""
    assert bracketed(float("nan"), 1) == ""
