"""What unfolds below a claim says every statistic that the verdict has, and nothing else."""

import re
from pathlib import Path

import numpy as np
import pytest

from reclaim.inference.controls import controls
from reclaim.inference.verdicts import judge
from reclaim.records import Verdict, Verdicts
from reclaim.report.details import deciding_p, details
from reclaim.report.page import render
from tests.inference.made_paper import TRUE, drawn, frame_of, papers, plan_of
from tests.inference.test_predictions import both

MEANS = TRUE | {"hcl@temperature=0.1": 82.5, "hcl@temperature=0.2": 79.0} | {
    "sscl@temperature=0.1": 84.0, "sscl@temperature=0.2": 84.0, "untrained": 70.0,
    "supervised": 90.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Verdicts, str]:
    root = tmp_path_factory.mktemp("made")
    both(root)
    paper = papers(root / "claims", readings=True)
    values = drawn(np.random.default_rng(3), MEANS, 3, 0.05)
    plan, frame = plan_of(paper, values), frame_of(values)
    made = judge("paper", paper, plan, frame, results=root)
    return made, render("paper", made, frame, controls(frame, plan), paper)


def lines(page: tuple[Verdicts, str], claim: str) -> dict[str, str]:
    return dict(details(next(v for v in page[0].verdicts if v.claim == f"made:{claim}")))


def test_a_number_unfolds_to_its_tests(page: tuple[Verdicts, str]) -> None:
    found = lines(page, "main[top1,hcl]")
    assert found["Margin"] == "1.250 points: half of main[top1,hcl] to main[top1,simclr]"
    assert re.fullmatch(
        r"\S.*, in the paper's family \S.*; in the overview \S.*", found["Different, p"]
    )
    assert found["Controls"] == "bracketed"
    assert found["Read as planned"].startswith("reproduced: 82.")
    assert re.fullmatch(r"\[82\.\d\d, 82\.\d\d\]", found["Expected, 95 %"])
    assert {"Read temperature=0.1", "Read temperature=0.2", "Equivalent, p"} <= set(found)
    assert "Order, p" not in found


def test_a_difference_unfolds_to_what_stands_beside_it(page: tuple[Verdicts, str]) -> None:
    found = lines(page, "gap")
    assert "P(A > B)" in found
    assert "d33" in found["Small telescopes"]
    assert "400 images" in found["For new images"]
    assert "McNemar" in found["First seed alone"]


def test_the_page_unfolds_every_line_without_a_script(page: tuple[Verdicts, str]) -> None:
    made, text = page
    assert "<script" not in text
    shown = [verdict for verdict in made.verdicts if verdict.runs and details(verdict)]
    assert text.count('<details class="more">') == len(shown)
    for verdict in shown:
        for name, value in details(verdict):
            escaped = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            what = name.replace("&", "&amp;").replace(">", "&gt;")
            assert f"<dt>{what}</dt><dd>{escaped.replace(chr(39), '&#39;')}</dd>" in text
        assert deciding_p(verdict).replace("<", "&lt;") in text


def test_noise_and_rankings_are_shown(page: tuple[Verdicts, str]) -> None:
    made, text = page
    section = text[text.index('<section id="noise"') :].partition("</section>")[0]
    for noise in made.noise:
        assert f"{noise.run_sd:.2f}" in section
        assert f"{noise.bound:.2f}" in section
    rankings = {found.column: found for found in made.rankings}
    assert set(rankings) == {"main[top1]", "knob[top1]"}
    main = rankings["main[top1]"]
    assert (main.tau, main.verdict) == (pytest.approx(1.0), "reproduced")
    assert f"{main.separable} of {main.pairs}" in section


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ({"size": "reproduced", "order": "reproduced", "verdict": "reproduced"}, "0.020"),
        ({"size": "not reproduced", "order": "reproduced", "verdict": "not reproduced"}, "0.010"),
        ({"size": "reproduced", "order": "not reproduced", "verdict": "not reproduced"}, "0.030"),
        ({"order": "reproduced", "verdict": "reproduced"}, "0.030"),
        (
            {
                "size": "compatible, imprecise",
                "order": "reproduced",
                "p_adjusted": None,
                "verdict": "compatible, imprecise",
            },
            "0.030",
        ),
    ],
)
def test_a_row_shows_the_p_that_decides(words: dict[str, str], shown: str) -> None:
    made = Verdict(
        claim="a:b", paper="a", kind="value", text="t", tost_p_adjusted=0.02,
        order_p_adjusted=0.03, **{"p_adjusted": 0.01} | words,
    )  # fmt: skip
    assert deciding_p(made) == shown


def test_a_verdict_with_nothing_to_say_unfolds_to_nothing() -> None:
    bare = Verdict(claim="a:b", paper="a", kind="value", text="t", verdict="untestable: not run: x")
    assert details(bare) == []
    assert deciding_p(bare) == "–"


def test_a_file_without_blanks_reads_back(page: tuple[Verdicts, str], tmp_path: Path) -> None:
    from reclaim.records import read, write

    path = tmp_path / "verdicts.json"
    write(path, page[0])
    assert read(path, Verdicts, "") == page[0]
    assert "null" not in path.read_text()
    nought = page[0].verdicts[0].model_copy(update={"p": 0.0, "sequence": False})
    assert Verdict.model_validate(nought.model_dump()) == nought
