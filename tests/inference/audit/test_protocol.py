"""How many facts of a re-run are printed, and which printed settings cannot hold together."""

from __future__ import annotations

from typing import Any

import pytest

from reclaim.inference.audit import protocol as protocol_check
from reclaim.inference.audit.protocol import check, left_over, tally, too_many
from reclaim.records import Finding
from reclaim.registry.claims import Divergence, Table
from tests.inference.audit.small_papers import case, table

pytestmark = pytest.mark.arithmetic

TABLE = table("main", {"ours": {"cifar10.top1": "82.0"}})


def findings(*values: dict[str, Any], made: Any = TABLE, **changes: Any) -> list[Finding]:
    return list(check([case(made, protocol=values, **changes)]))


def value(path: str, value: Any, source: str = "printed", *readings: Any, **more: Any) -> Any:
    """A protocol value; each reading is (value, source)."""
    said = [{"value": v, "source": s, "locator": f"{s} {v}"} for v, s in readings]
    return {"path": path, "value": value, "source": source, "readings": said} | more


def contradictions(*values: dict[str, Any], **changes: Any) -> list[str]:
    return [f.message for f in findings(*values, **changes) if f.verdict == "contradiction"]


def test_tally_names_every_source() -> None:
    assert tally([]) == dict.fromkeys(("printed", "released-code", "inferred", "assumed"), 0)
    assert tally(["inferred", "printed", "inferred"])["inferred"] == 2


def test_what_whole_batches_leave() -> None:
    assert [left_over(queue, 256) for queue in (0, 255, 256, 257, 16384, 16385)] == [
        0, 255, 0, 1, 0, 1,
    ]  # fmt: skip


def test_how_many_images_are_too_many() -> None:
    assert too_many((3, 4), 8) == too_many((3, 5), 8) == 0
    assert too_many((4, 5), 8) == 1


def test_facts_are_counted_by_source() -> None:
    (found,) = findings(
        value("batch", 256),
        value("epochs", 200, "released-code"),
        value("temperature", 0.5, "inferred"),
        value("seeds", [1], "assumed"),
        value("facts.gpu", "one", "assumed"),
    )[:1]
    assert found.verdict == "untestable"
    assert found.evidence["facts"] == 5
    assert found.evidence["sources"] == {
        "printed": 1, "released-code": 1, "inferred": 1, "assumed": 2,
    }  # fmt: skip
    assert found.evidence["assumed"] == ["seeds", "facts.gpu"]
    assert found.evidence["inferred"] == ["temperature"]
    assert "batch" not in found.evidence["missing"]
    assert found.evidence["missing"] == [
        "evaluate.linear.batch", "evaluate.linear.epochs", "evaluate.linear.lr", "network.arch",
        "optimiser.lr", "optimiser.name", "optimiser.schedule", "optimiser.weight_decay", "views",
    ]  # fmt: skip
    assert "needed and not entered: evaluate.linear.batch, " in found.message


COMPLETE = [
    value("network.arch", "resnet18"),
    value("views", []),
    value("optimiser.name", "sgd"),
    value("optimiser.lr", 0.1),
    value("optimiser.weight_decay", 0.0),
    value("optimiser.schedule", "constant"),
    value("epochs", 200),
    value("batch", 256, "released-code"),
    value("seeds", [1]),
    value("evaluate.linear.epochs", 100),
    value("evaluate.linear.batch", 256),
    value("evaluate.linear.lr", 10.0),
]


def test_a_complete_protocol_is_consistent() -> None:
    assert findings(*COMPLETE)[0].verdict == "consistent"
    for i in range(len(COMPLETE)):
        rest = [*COMPLETE[:i], *COMPLETE[i + 1 :]]
        assert findings(*rest)[0].evidence["missing"] == [COMPLETE[i]["path"]]
        assert findings(*rest)[0].verdict == "untestable"


def test_only_evaluations_that_train_need_settings() -> None:
    made = table("main", {"ours": {"cifar10.top1": "82.0"}}, evaluation="knn")
    assert findings(*COMPLETE[:9], made=made)[0].verdict == "consistent"
    made = table("main", {"ours": {"cifar10.top1": "82.0"}}, evaluation="fine_tune")
    assert len(findings(*COMPLETE, made=made)[0].evidence["missing"]) == 3


def test_a_queue_is_made_of_whole_batches() -> None:
    batch = value("batch", 256)
    (found,) = contradictions(batch, value("twin.queue", 16385))
    assert "a queue of 16,385 is no whole number of batches of 256 (1 over)" in found
    assert "It would fit" not in found
    (found,) = contradictions(
        batch, value("twin.queue", 16384, "released-code", (16385, "printed"))
    )
    assert "It would fit with twin.queue 16384." in found
    assert contradictions(batch, value("twin.queue", 16384)) == []
    assert contradictions(batch, value("twin.queue", 16385, "assumed")) == []


def test_a_known_divergence_is_told_with_the_relation_it_breaks() -> None:
    readings = ((16385, "printed"), (16384, "released-code"))
    values = (
        value("batch", 256),
        value("twin.queue", 16385, "printed", (512, "assumed"), (16384, "released-code")),
    )
    for path, told in (("twin.queue", True), ("batch", False), ("temperature", False)):
        (found,) = contradictions(*values, divergences=divergence((path,), *readings))
        assert "It would fit with twin.queue 512." in found
        assert found.endswith(" A re-run takes 16385: Because.") == told
    other = divergence(("twin.queue",), (7, "printed"), (8, "released-code"))
    (found,) = contradictions(*values, divergences=other)
    assert "A re-run takes" not in found


def test_a_split_has_no_more_images_than_there_are() -> None:
    """CIFAR-10 has 50,000 training images."""
    tests = value("facts.test_images", 10_000)
    held_out = value("dataset.held_out", True)
    assert contradictions(value("dataset.subset", 40_000), tests, held_out) == []
    (found,) = contradictions(value("dataset.subset", 50_000), tests, held_out)
    assert "are 10,000 too many" in found
    apart = value("dataset.held_out", False)
    assert contradictions(value("dataset.subset", 50_000), tests, apart) == []
    (found,) = contradictions(value("dataset.subset", 60_000), tests, apart)
    assert "60,000 images to learn from are 10,000 more than there are" in found


def test_images_of_unknown_data_are_not_counted() -> None:
    made = table("main", {"ours": {"shapes.top1": "82.0"}})
    values = [
        value("dataset.subset", 10**9), value("facts.test_images", 5),
        value("dataset.held_out", True),
    ]  # fmt: skip
    assert contradictions(*values, made=made, images=None) == []
    assert len(contradictions(*values)) == 2


def sizes(**cells: str) -> Table:
    """A table of data sets with a row for `shapes`."""
    cells = {"note": "-"} | cells
    return Table(
        id="sizes", title="Data", locator="Table 0", kind="data",
        columns={name: {} for name in cells}, rows={"shapes": {"label": "S", "dataset": "shapes"}},
        cells={"shapes": cells},
    )  # fmt: skip


SHAPES = table("main", {"ours": {"shapes.top1": "82.0"}})


def on_shapes(*values: dict[str, Any], **cells: str) -> list[Finding]:
    """Contradictions of a paper about `shapes`, 1,000 of which are tested on by its own entry."""
    return [
        found
        for found in check([case(SHAPES, sizes(**cells), protocol=values)])
        if found.verdict == "contradiction"
    ]


@pytest.mark.parametrize("printed", ["5000", "5 000", "5,000", "5\u202f000"])
def test_a_table_of_data_sets_says_how_many_images_there_are(printed: str) -> None:
    assert on_shapes(value("dataset.subset", 5000), training_set=printed) == []
    (found,) = on_shapes(value("dataset.subset", 5001), training_set=printed, categories="10")
    assert found.cells == ("sizes[training_set,shapes]",)
    assert found.message == (
        "As printed, 5,001 images to learn from are 1 more than there are (dataset.subset Section "
        f"2; sizes[training_set,shapes] {printed})."
    )


def test_what_is_tested_on_is_no_more_than_the_test_set() -> None:
    assert on_shapes(value("facts.test_images", 1000)) == []
    assert on_shapes(value("facts.test_images", 900), test_set="950") == []
    (found,) = on_shapes(value("facts.test_images", 1001), test_set="950")
    assert "1,001 images to test on are 1 more than there are" in found.message
    assert found.cells == ("sizes[test_set,shapes]",)
    assert on_shapes(value("facts.test_images", 1200), test_images="1200") == []
    held_out = value("dataset.held_out", False, "printed", (True, "assumed"))
    assert on_shapes(value("facts.test_images", 1001), held_out) == []
    (found,) = on_shapes(value("facts.test_images", 1001), value("dataset.held_out", False))
    assert found.cells == ()


@pytest.mark.parametrize("cells", [{"training_set": "5k"}, {"pretraining": "5"}, {"train": "1 00"}])
def test_what_is_no_plain_number_of_images_bounds_nothing(cells: dict[str, str]) -> None:
    assert on_shapes(value("dataset.subset", 10**9), **cells) == []


def test_data_sets_may_stand_in_columns() -> None:
    across = Table(
        id="sizes", title="Data", locator="Table 0", kind="data",
        columns={"s": {"dataset": "shapes"}, "o": {"dataset": "other"}},
        rows={"train": {"label": "Train"}, "test": {"label": "Test"}},
        cells={"train": {"s": "500", "o": "9"}, "test": {"s": "100", "o": "9"}},
    )  # fmt: skip
    made = case(SHAPES, across)
    assert made.printed_images("shapes", "train") == {"sizes[s,train]": 500}
    assert made.printed_images("shapes", "test") == {"sizes[s,test]": 100}
    assert case(SHAPES).printed_images("shapes", "train") == {}


def test_warm_up_and_hardest_negatives_fit() -> None:
    assert contradictions(value("optimiser.warmup_epochs", 20), value("epochs", 20)) == []
    (found,) = contradictions(value("optimiser.warmup_epochs", 21), value("epochs", 20))
    assert "21 epochs of warm-up are 1 more than the 20 in all" in found
    batch = value("batch", 16)
    assert contradictions(value("knobs.hardest", 30), batch) == []
    (found,) = contradictions(value("knobs.hardest", 31), batch)
    assert "the 31 hardest of a batch of 16 pairs are 1 too many" in found
    queue = value("twin.queue", 64)
    assert contradictions(value("knobs.hardest", 64), batch, queue) == []
    (found,) = contradictions(value("knobs.hardest", 65), batch, queue)
    assert "the 65 hardest of a queue of 64 are 1 too many" in found


def test_relations_that_hold_are_named() -> None:
    found = findings(value("batch", 256), value("twin.queue", 512), value("epochs", 3))[-1]
    assert found.verdict == "consistent"
    assert found.evidence["relations"] == ["queue"]


def test_a_relation_is_broken_once_however_many_runs_have_it() -> None:
    many = {name: {"cifar10.top1": "8.0", "cifar100.top1": "7.0"} for name in ("a", "b", "c")}
    values = [value("batch", 256), value("twin.queue", 300)]
    assert len(contradictions(*values, made=table("main", many))) == 1


def test_numbers_printed_twice_contradict_and_words_are_open() -> None:
    (found,) = contradictions(value("temperature", 0.5, "printed", (0.2, "printed")))
    assert "temperature: printed are 0.5 (Section 2) and 0.2 (printed 0.2)" in found
    assert "at most one is what was run" in found
    assert contradictions(value("temperature", 0.5, "printed", (0.2, "assumed"))) == []
    assert contradictions(value("temperature", 0.5, "printed", (0.5, "printed"))) == []
    words = findings(value("facts.what", "this", "printed", ("that", "printed")))[-1]
    assert words.verdict == "untestable"
    assert words.evidence["printed"] == ["this", "that"]


def divergence(paths: tuple[str, ...], *readings: Any) -> dict[str, Divergence]:
    said = [{"value": v, "source": s, "locator": f"{s} {v}"} for v, s in readings]
    about = {"what": "How many", "where": "Here", "default": said[0]["value"], "why": "Because."}
    return {"it": Divergence.model_validate(about | {"paths": paths, "readings": said})}


def test_a_divergence_explains_what_its_path_says_twice() -> None:
    known = divergence(("temperature",), (0.5, "printed"), (0.2, "printed"))
    doubled = value("temperature", 0.5, "printed", (0.2, "printed"))
    (found,) = contradictions(doubled, divergences=known)
    assert found.startswith("How many: printed are 0.5 (printed 0.5) and 0.2 (printed 0.2)")
    assert found.endswith("A re-run takes 0.5: Because.")
    against_code = divergence(("temperature",), (0.5, "printed"), (0.2, "released-code"))
    assert contradictions(divergences=against_code) == []


def test_what_a_relation_shows_is_not_said_again() -> None:
    values = [
        value("dataset.subset", 40_000, "printed", (50_000, "printed")),
        value("facts.test_images", 10_000),
        value("dataset.held_out", True),
    ]
    (found,) = contradictions(*values)
    assert "are 10,000 too many" in found
    assert len(contradictions(values[0])) == 1


def test_a_paper_without_a_protocol_has_no_facts() -> None:
    (found,) = findings()
    assert (found.verdict, found.evidence["facts"]) == ("untestable", 0)


def test_many_readings_are_not_all_combined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_check, "MOST", 3)
    many = [(300 + i, "printed") for i in range(50)]
    values = [value("batch", 256), value("twin.queue", 256, "printed", *many)]
    broken = [f for f in findings(*values) if f.evidence["kind"] == "relation"]
    assert len(broken) == 2


def test_what_a_finding_says() -> None:
    settings = value("batch", 256), value("twin.queue", 300), value("dataset.subset", 9)
    facts, broken, held = findings(*settings)
    assert facts.message.startswith(
        "3 facts are entered for 1 trainings: 3 printed, 0 released-code, 0 inferred, 0 assumed; "
        "needed and not entered: "
    )
    assert facts.message.endswith(
        ", views. Print and released code leave the rest of a re-run open, so a number that a "
        "re-run does not reach proves nothing by itself; the authors could say it."
    )
    assert broken.message == (
        "As printed, a queue of 300 is no whole number of batches of 256 (44 over) (twin.queue "
        "Section 2; batch Section 2)."
    )
    assert broken.evidence["relation"] == "queue"
    assert broken.evidence["paths"] == ["twin.queue", "batch"]
    assert broken.evidence["printed"] == [300, 256]
    assert broken.evidence["fits"] == []
    assert held.message == "Printed settings hold together in these relations: subset."
    assert {f.check for f in (facts, broken, held)} == {"protocol"}
    (complete,) = [f for f in findings(*COMPLETE) if f.evidence["kind"] == "facts"]
    assert complete.message.endswith("0 inferred, 0 assumed.")
