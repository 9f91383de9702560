"""The page: every claim once, nothing fetched, nothing run, printed text escaped."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from reclaim.inference.controls import controls
from reclaim.inference.verdicts import judge
from reclaim.records import Verdicts
from reclaim.registry.claims import Paper
from reclaim.report.page import sweep_tables, write_report
from reclaim.report.standing import recipe_order, standing, tally
from tests.inference.made_up import BASE, frame_of, papers, plan_of

CONTROLS = {
    "untrained": {"top1": [70.0, 71.0, 69.5], "top5": [95.0, 95.1, 95.3]},
    "raw_pixels": {"top1": [75.0, 75.0, 75.0], "top5": [96.0, 96.0, 96.0]},
    "supervised": {"top1": [90.0, 91.0, 90.5], "top5": [99.8, 99.9, 99.7]},
}
Evidence = tuple[Verdicts, pd.DataFrame, dict[str, Paper], pd.DataFrame]


def evidence(root: Path, scale: str) -> Evidence:
    values = {**BASE, **CONTROLS}
    paper, frame = papers(root), frame_of(scale, values)
    plan = plan_of(scale, paper, values, moco_v2="it needs a queue")
    return judge(scale, paper, plan, frame), frame, paper, controls(frame, plan)


@pytest.fixture(scope="module", params=["digits", "paper"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return evidence(tmp_path_factory.mktemp("claims"), request.param)


@pytest.fixture(scope="module")
def page(made: Evidence, tmp_path_factory: pytest.TempPathFactory) -> str:
    verdicts, frame, paper, quality = made
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report(verdicts.scale, verdicts, frame, quality, paper, out)
    return out.read_text(encoding="utf-8")


VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """All tags with their attributes, the open ones checked to be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_without_stale_claims_nothing_is_marked(page: str) -> None:
    assert 'class="stale"' not in page


def test_every_claim_appears_exactly_once(page: str, made: Evidence) -> None:
    shown = [attrs["data-claim"] for _, attrs in Reader(page).tags if "data-claim" in attrs]
    assert Counter(shown) == Counter(verdict.claim for verdict in made[0].verdicts)


def test_the_page_is_whole_and_its_ids_are_unique(page: str) -> None:
    reader = Reader(page)
    assert reader.open == []
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for tag, attrs in reader.tags if tag == "a" and "href" in attrs]
    assert {link[1:] for link in links if link and link.startswith("#")} <= set(ids)


def test_nothing_is_fetched_and_nothing_runs(page: str) -> None:
    reader = Reader(page)
    assert not {tag for tag, _ in reader.tags} & {
        "script",
        "iframe",
        "object",
        "embed",
        "base",
        "img",
    }
    for tag, attrs in reader.tags:
        assert "src" not in attrs
        assert not any(name.startswith("on") for name in attrs)
        if tag != "a" and "href" in attrs:
            assert attrs["href"] == "data:,"
        if "xlink:href" in attrs:
            assert (attrs["xlink:href"] or "").startswith("#")
    styles = "".join(re.findall(r"<style>.*?</style>", page, re.DOTALL))
    assert "url(" not in page
    assert "@import" not in styles


def test_printed_text_is_escaped(page: str) -> None:
    assert "HCL &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "A &lt;b&gt;bold&lt;/b&gt; paper &amp; more" in page
    assert "above &lt;i&gt;SimCLR&lt;/i&gt;" in page
    assert "<script" not in page


def test_a_link_of_a_paper_is_followed_only_to_the_web(made: Evidence, tmp_path: Path) -> None:
    verdicts, frame, paper, quality = made
    one = paper["made_up"]
    sly = one.model_copy(
        update={"about": one.about.model_copy(update={"url": "javascript:alert(1)"})}
    )
    out = tmp_path / "report.html"
    write_report(verdicts.scale, verdicts, frame, quality, {"made_up": sly}, out)
    assert 'href="javascript' not in out.read_text(encoding="utf-8")


def test_the_scale_says_what_it_is(page: str, made: Evidence) -> None:
    transfers = made[0].scale != "paper"
    assert ("Transfer evidence, not verdicts on the papers." in page) == transfers
    assert ("Verdicts on printed numbers." in page) != transfers


def test_every_verdict_and_number_is_shown(page: str, made: Evidence) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert made[0].measurements in text
    for verdict in made[0].verdicts:
        assert verdict.verdict in text
        if verdict.printed:
            assert verdict.printed.replace("-", "−") in text or verdict.printed in text
        if verdict.mean is not None:
            assert f"{verdict.mean:.2f}" in text
        if verdict.interval is not None:
            low, high = (f"{end:+.2f}".replace("-", "−") for end in
                         (verdict.interval.low, verdict.interval.high))  # fmt: skip
            assert f"[{low}, {high}]" in text
    assert "results/" in text
    assert "workflow/claims/made_up/tables/main.csv" in text


def test_equal_inputs_make_equal_bytes(page: str, made: Evidence, tmp_path: Path) -> None:
    verdicts, frame, paper, quality = made
    out = tmp_path / "again.html"
    write_report(verdicts.scale, verdicts, frame, quality, paper, out)
    assert out.read_text(encoding="utf-8") == page


def test_the_quality_table_names_what_does_not_beat_untrained(tmp_path: Path) -> None:
    level = {"simclr": {"top1": [70.5, 70.9, 69.2]}, "hcl": {"top1": [80.0, 81.2, 79.4]}}
    values = {**level, **CONTROLS}
    paper, frame = papers(tmp_path), frame_of("digits", values)
    plan = plan_of("digits", paper, values)
    verdicts = judge("digits", paper, plan, frame)
    out = tmp_path / "report.html"
    write_report("digits", verdicts, frame, controls(frame, plan), paper, out)
    text = out.read_text(encoding="utf-8")
    assert "No clear gain over the untrained encoder (linear top-1): <b>simclr</b>" in text
    assert 'simclr<small class="flag">not above untrained</small>' in text
    quality = text[text.index('<section id="quality"') : text.index("</section>")]
    assert quality.count('class="flag"') == 1


def plain_text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_sweeps_stand_apart_beside_the_planned_run(page: str, made: Evidence) -> None:
    start, end = page.index('<section id="sweeps"'), page.index('<section id="plots"')
    section = plain_text(page[start:end])
    assert section.count(" sscl as planned 4 81.05 ") == 1
    for name, shown in (("1", "−1.00"), ("2", "+1.00"), ("3", "+0.00")):
        values = BASE[f"sscl-{name}"]["top1"]
        gaps = [a - b for a, b in zip(values, BASE["sscl"]["top1"], strict=True)]
        assert f"{sum(gaps) / 4:+.2f}".replace("-", "−") == shown
        assert f" sscl {name} 4 {sum(values) / 4:.2f}" in section
        assert shown in section
    assert "Of 3 differences these exclude zero: sscl 1 (linear), sscl 2 (linear) ." in section
    quality = plain_text(page[page.index('<section id="quality"') : start])
    assert len(re.findall(r"\bsscl\b [^s]*?81\.05 ±", quality)) == 1  # the planned mean alone
    assert "80.05 ±" not in quality


def test_a_fine_tuned_column_is_there_where_one_was_measured(tmp_path: Path) -> None:
    paper, values = papers(tmp_path), {**BASE, **CONTROLS}
    tuned = {"simclr": {"top1": [88.0, 88.4, 88.1]}, "hcl": {"top1": [89.0, 89.7, 89.2]}}
    plan = plan_of("digits", paper, values)
    for extra, there in ((None, False), (frame_of("digits", tuned, "fine_tune"), True)):
        frame = pd.concat([frame_of("digits", values), extra])
        verdicts = judge("digits", paper, plan, frame)
        out = tmp_path / "report.html"
        write_report("digits", verdicts, frame, controls(frame, plan), paper, out)
        text = out.read_text(encoding="utf-8")
        assert ('<th scope="col">Fine-tuned top-1</th>' in text) == there
        assert (
            "<h4>made_up: CIFAR-10, top-1, fine-tuned</h4>" in text
        ) == there  # a figure of its own
        assert ("89.30 ± 0.36" in text) == there
    assert "<dt>Code of fine_tune</dt>" in text


def test_the_ledger_of_divergences_is_shown_with_its_default(page: str, made: Evidence) -> None:
    shown = [attrs["data-divergence"] for _, attrs in Reader(page).tags
             if "data-divergence" in attrs]  # fmt: skip
    assert shown == ["made_up:mixing"]
    text = plain_text(page)
    assert "How negatives are &lt;i&gt;mixed&lt;/i&gt;" in text
    assert "8 printed: Equation 1 (taken by default)" in text
    assert "16 released-code: model.py An old default. " in text
    assert "The paper is explicit &amp; clear." in text
    assert "Decides knobs.synthetics ." in text


def test_nothing_measured_by_claims_still_makes_a_page(tmp_path: Path) -> None:
    paper, frame = papers(tmp_path), frame_of("digits", {"supervised": CONTROLS["supervised"]})
    plan = plan_of("digits", paper, {"supervised": CONTROLS["supervised"]})
    verdicts = judge("digits", paper, plan, frame)
    out = tmp_path / "report.html"
    write_report("digits", verdicts, frame, controls(frame, plan), paper, out)
    text = out.read_text(encoding="utf-8")
    assert "Printed against measured" not in text
    assert text.count("data-claim") == len(verdicts.verdicts)


def test_counts_and_order(made: Evidence) -> None:
    verdicts = made[0]
    counts = tally(verdicts.verdicts)
    assert sum(counts.values()) == len(verdicts.verdicts)
    assert counts["untested"] == sum(standing(v) == "untested" for v in verdicts.verdicts)
    order = recipe_order(["untrained", "new", "hcl", "simclr"], verdicts)
    assert order == ["simclr", "hcl", "new", "untrained"]


def test_stale_claims_are_marked_and_counted(made: Evidence, tmp_path: Path) -> None:
    verdicts, frame, paper, quality = made
    kinds = {verdict.kind: verdict.claim for verdict in verdicts.verdicts}
    stale = dict.fromkeys(kinds.values(), "trained by <other> code")
    text = write_report(
        verdicts.scale, verdicts, frame, quality, paper, tmp_path / "page.html", stale
    ).read_text(encoding="utf-8")
    assert text.count("stale: trained by &lt;other&gt; code") == len(stale) > 1
    assert f"{len(stale)} claims rest on stale results" in text
    for claim in kinds.values():
        row = text.split(f'id="{claim}"')[1].split("stale:")[0]
        assert "data-claim" not in row


def test_a_sweep_measured_under_another_reading_too_is_compared_by_its_own_protocols() -> None:
    clear = {"minus_planned": 0.7, "planned_low": 0.5, "planned_high": 1.0}
    row = {"dataset": "cifar10", "recipe": "sscl", "name": "sscl", "metric": "top1", "mean": 80.0}
    planned = {"config": "a", "variant": "", "protocol": "linear", "minus_planned": float("nan")}
    rows = [row | planned] + [
        row | clear | {"config": "b", "variant": "k=2", "protocol": protocol}
        for protocol in ("linear", "linear-encoder-last")
    ]
    [table] = sweep_tables(pd.DataFrame(rows), ["sscl"])
    assert table["compared"] == 1
    assert table["moved"] == ["sscl k=2 (linear)"]
