"""A sample of the determinism matrix, and that its tables follow from what was measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.campaigns import drift

RECIPES = ("moco_v2", "psm_released")
COLUMNS = ["scale", "switch", "precision", "steps", "recipe", "quantity", "value"]


def test_another_process_order_and_hash_seed_learn_the_same_bits(tmp_path: Path) -> None:
    plan = drift.plan_of("float32", 4, RECIPES)
    back = plan.model_copy(update={"runs": plan.runs[::-1]})
    one = drift.bits(drift.start(tmp_path / "one", plan, PYTHONHASHSEED="1"), plan)
    two = drift.bits(drift.start(tmp_path / "two", back, PYTHONHASHSEED="2"), plan)
    assert drift.same("", 4, one, two)[2:] == [6, 6]
    assert len(set(one.values())) > 2, "the recipes learn different things"


def test_a_plan_is_cut_to_its_steps_or_left_whole() -> None:
    short, whole = drift.plan_of("float64", 20), drift.plan_of("bfloat16", None, drift.WHOLE)
    assert [run.recipe for run in short.runs] == list(drift.RECIPES)
    assert {config.epochs * (config.max_steps or 0) for config in short.configs.values()} == {20}
    assert {config.precision for config in short.configs.values()} == {"float64"}
    assert all(not run.protocols for run in short.runs)
    assert {config.max_steps for config in whole.configs.values()} == {None}
    planned = {run.recipe: run for run in drift.committed_plan("digits").runs}
    assert all(run.protocols == planned[run.recipe].protocols for run in whole.runs)
    assert {run.dataset for run in drift.plan_of("float32", None, scale="fashion").runs} == {
        "fashion_mnist"
    }


def test_distances_are_those_of_weights_losses_and_metrics(tmp_path: Path) -> None:
    plan = drift.plan_of("float32", 4, ("simclr",))
    [run] = plan.runs
    made = drift.start(tmp_path, plan)
    assert {value for _, _, value in drift.distances(made, made, (plan, plan))} == {0.0}
    from safetensors.torch import load_file, save_file

    folder = drift.run_folder(made, run.recipe, run.id)
    other = drift.run_folder(tmp_path / "other", run.recipe, run.id)
    other.mkdir(parents=True)
    weights = load_file(folder / drift.BITS[0])
    save_file({name: 1.5 * value for name, value in weights.items()}, other / drift.BITS[0])
    curve = pd.read_csv(folder / "curve.csv")
    curve.loc[1, "loss"] *= 1.25
    curve.to_csv(other / "curve.csv", index=False)
    found = {q: v for _, q, v in drift.distances(made, tmp_path / "other", (plan, plan))}
    assert found == {"weights": pytest.approx(0.5), "loss": pytest.approx(0.25)}


def test_the_budgets_are_the_largest_drift_at_one_precision() -> None:
    rows = [
        ("digits", "2 threads", "float64", 20, "simclr", "loss", 1e-13),
        ("digits", "2 threads", "float64", 20, "byol", "loss", 3e-13),
        ("digits", "bfloat16, not float32", "float32", 20, "byol", "loss", 0.5),
        ("digits", "2 threads", "float32", 300, "byol", "loss", 0.1),
        ("digits", "2 threads", "float32", 300, "byol", "linear top1", 0.01),
        ("digits", "AVX2 in ATen", "float32", 300, "byol", "linear top1", 0.002),
        ("digits", "bfloat16, not float32", "float32", 300, "byol", "linear top1", 0.9),
        ("fashion", "2 threads", "float32", 390, "byol", "fine_tune top1", 0.03),
    ]
    assert drift.budgets(pd.DataFrame(rows, columns=COLUMNS)) == {
        "steps_20": {"float64": {"loss": 3e-13}},
        "final": {
            "digits": {"linear": {"top1": 0.01}},
            "fashion": {"fine_tune": {"top1": 0.03}},
        },
    }


def test_the_table_and_the_budgets_follow_from_the_measured_values() -> None:
    equal, measured = drift.read_measured()
    assert (equal["equal"] == equal["files"]).all()
    assert drift.render(equal, measured) in drift.DOCUMENT.read_text(encoding="utf-8")
    stored = yaml.safe_load(drift.BUDGETS.read_text(encoding="utf-8"))
    assert stored == drift.budgets(measured)
