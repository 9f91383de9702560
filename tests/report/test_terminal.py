"""What a terminal shows, read back as text."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from reclaim.inference.controls import controls
from reclaim.inference.verdicts import judge
from reclaim.report.numbers import bracketed, plain, signed
from reclaim.report.terminal import print_table
from tests.inference.made_up import BASE, frame_of, papers, plan_of

UNTRAINED = {"untrained": {"top1": [70.0, 71.0, 69.5, 70.2]}}


def shown(root: Path, scale: str, width: int = 80, seeds: int = 4) -> str:
    values = {name: BASE[name] for name in ("simclr", "hcl", "sscl")} | UNTRAINED
    values = {name: {m: v[:seeds] for m, v in of.items()} for name, of in values.items()}
    paper, frame = papers(root), frame_of(scale, values)
    console = Console(width=width, record=True, file=io.StringIO())
    verdicts = judge(scale, paper, plan_of(scale, paper, values, moco_v2="a queue"), frame)
    print_table(verdicts, controls(frame), console)
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
