"""The table of controls against scipy, recipe by recipe."""

import pandas as pd
import pytest
from scipy import stats

from reclaim.inference.controls import Measured, controls
from reclaim.records import Plan
from tests.conftest import tiny_config
from tests.inference.made_up import Values, frame_of, plan_of

VALUES = {
    "simclr": {"top1": [80.0, 80.5, 79.5], "uniformity": [-2.0, -2.1, -2.2]},
    "untrained": {"top1": [70.0, 71.0, 69.5], "uniformity": [-1.0, -1.0, -1.0]},
    "raw_pixels": {"top1": [75.0, 75.0, 75.0]},
    "supervised": {"top1": [90.0]},
}


def table_of(values: Values) -> pd.DataFrame:
    """The table of controls of made-up measurements, all of the plan."""
    return controls(frame_of("digits", values), plan_of("digits", {}, values))


def test_every_recipe_is_paired_with_untrained_by_seed() -> None:
    table = table_of(VALUES).set_index(["recipe", "metric"])
    row = table.loc[("simclr", "top1")]
    test = stats.ttest_rel(VALUES["simclr"]["top1"], VALUES["untrained"]["top1"])
    low, high = test.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((low, high), rel=1e-9)
    assert row["minus_untrained"] == pytest.approx(29.5 / 3)
    assert (row["mean"], row["sd"], row["seeds"]) == (pytest.approx(80), pytest.approx(0.5), 3)


def test_metrics_that_are_no_accuracies_keep_their_unit() -> None:
    table = table_of(VALUES).set_index(["recipe", "metric"])
    assert table.loc[("simclr", "uniformity"), "mean"] == pytest.approx(-2.1)
    assert table.loc[("simclr", "uniformity"), "minus_untrained"] == pytest.approx(-1.1)


def test_what_cannot_be_compared_is_blank() -> None:
    table = table_of(VALUES).set_index(["recipe", "metric"])
    blank = table["minus_untrained"].isna()
    assert list(table.index[blank].get_level_values("recipe")) == ["untrained", "untrained"]
    assert table["low"].isna().loc[("supervised", "top1")]  # one seed: a gap without an interval
    alone = {"simclr": VALUES["simclr"]}
    assert table_of(alone)["minus_untrained"].isna().all()


SWEPT = {
    "sscl": {"top1": [81.0, 81.3, 80.7]},
    "sscl-1": {"top1": [80.0, 80.2, 79.9]},
    "untrained": {"top1": [70.0, 71.0, 69.5]},
}


def test_a_sweep_is_no_part_of_the_planned_mean_and_is_paired_with_it() -> None:
    table = table_of(SWEPT).set_index("config")
    assert table.loc["sscl", "mean"] == pytest.approx(81.0)
    assert table.loc["sscl", "seeds"] == 3
    assert table.loc["sscl-1", "variant"] == "1"
    test = stats.ttest_rel(SWEPT["sscl-1"]["top1"], SWEPT["sscl"]["top1"])
    ends = test.confidence_interval(0.95)
    found = table.loc["sscl-1", ["minus_planned", "planned_low", "planned_high"]]
    assert list(found) == pytest.approx([-2.9 / 3, ends.low, ends.high], rel=1e-9)
    assert table.loc[["sscl", "untrained"], "minus_planned"].isna().all()
    own = stats.ttest_1samp(SWEPT["sscl-1"]["top1"], 0).confidence_interval(0.95)
    assert list(table.loc["sscl-1", ["mean_low", "mean_high"]]) == pytest.approx(list(own))


def test_what_starts_from_an_encoder_is_paired_with_it_seed_by_seed() -> None:
    values = {
        "simclr_dino": {"top1": [80.0, 81.0, 82.0]},
        "simclr": {"top1": [80.0, 81.0, 82.0]},
        "dino": {"top1": [79.0, 80.5, 80.5]},
    }
    plan = plan_of("digits", {}, values)
    runs = tuple(
        run.model_copy(update={"init": f"dino-s{run.seed}"}) if run.recipe == "simclr_dino" else run
        for run in plan.runs
    )
    plan = plan.model_copy(update={"runs": runs})
    table = controls(frame_of("digits", values), plan).set_index("recipe")
    ends = stats.ttest_1samp([1.0, 0.5, 1.5], 0).confidence_interval(0.95)
    found = table.loc["simclr_dino", ["minus_start", "start_low", "start_high"]]
    assert list(found) == pytest.approx([1.0, *ends])
    assert table.loc["simclr_dino", "start"] == "dino"
    assert table.loc[["simclr", "dino"], "minus_start"].isna().all()
    assert set(table.loc[["simclr", "dino"], "start"]) == {""}
    fetched = tuple(run.model_copy(update={"init": "weights/dino"}) for run in plan.runs)
    plan = plan.model_copy(update={"runs": fetched})
    table = controls(frame_of("digits", values), plan)
    assert table["minus_start"].isna().all()


def several_networks() -> tuple[Values, Plan]:
    """A recipe and its control by two networks each, and a sweep of one of them."""
    values = {
        "simclr_small": {"top1": [60.0, 61.0]}, "simclr_large": {"top1": [80.0, 81.0]},
        "simclr_large_swept": {"top1": [83.0, 85.0]},
        "untrained_small": {"top1": [50.0, 52.0]}, "untrained_large": {"top1": [70.0, 70.5]},
        "raw_pixels": {"top1": [55.0, 55.0]},
    }  # fmt: skip
    plan = plan_of("digits", {}, values)
    runs = []
    for run in plan.runs:
        recipe = "raw_pixels" if run.config == "raw_pixels" else run.config.split("_")[0]
        swept = {"variant": "temperature=0.1"} if run.config.endswith("swept") else {}
        runs.append(run.model_copy(update={"recipe": recipe, **swept}))
    configs = {
        name: tiny_config(
            "raw_pixels" if name == "raw_pixels" else name.split("_")[0],
            network__widths=[16, 32] if "large" in name else [4, 8],
            temperature=0.1 if "swept" in name else 0.5,
        )
        for name in values
    }
    return values, plan.model_copy(update={"runs": tuple(runs), "configs": configs})


def test_each_network_has_its_own_control_and_its_own_name() -> None:
    values, plan = several_networks()
    frame = frame_of("digits", values)
    frame["recipe"] = frame["run"].map({run.id: run.recipe for run in plan.runs})
    table = controls(frame, plan).set_index("config")
    gaps = table["minus_untrained"]
    assert gaps["simclr_small"] == pytest.approx(9.5)
    assert gaps["simclr_large"] == pytest.approx(10.25)
    assert gaps["simclr_large_swept"] == pytest.approx(13.75)
    assert pd.isna(gaps["untrained_small"])
    assert pd.isna(gaps["raw_pixels"])  # of two random encoders, neither is its own
    assert table.loc["simclr_large_swept", "minus_planned"] == pytest.approx(3.5)
    planned = table.loc[table["variant"] == "", "name"]
    assert planned.is_unique
    assert planned["raw_pixels"] == "raw_pixels"


def test_a_flag_compares_within_the_same_initialisation() -> None:
    """From an encoder of 79: above a random one, but not above the one it started from."""
    values = {
        "simclr_dino": {"top1": [80.0, 79.5, 79.9]},
        "simclr": {"top1": [80.0, 79.5, 79.9]},
        "dino": {"top1": [79.8, 79.9, 79.6]},
        "untrained": {"top1": [70.0, 70.5, 70.1]},
        "supervised": {"top1": [79.0, 78.4, 78.8]},
    }
    plan = plan_of("digits", {}, values)
    runs = tuple(
        run.model_copy(update={"init": f"dino-s{run.seed}"}) if run.recipe == "simclr_dino" else run
        for run in plan.runs
    )
    frame = frame_of("digits", values)

    def found(plan: Plan) -> dict[str, str | None]:
        measured = Measured.of(frame, plan)
        return {
            run.recipe: measured.control(config, "linear", "top1")
            for config, run in measured.configs.items()
        }

    assert found(plan.model_copy(update={"runs": runs})) == {
        "simclr_dino": "not above untrained",
        "simclr": "above supervised",
        "dino": "above supervised",
        "untrained": None,
        "supervised": None,
    }
    fetched = tuple(run.model_copy(update={"init": "weights/dino"}) for run in plan.runs)
    # Nothing of the same start was measured.
    assert set(found(plan.model_copy(update={"runs": fetched})).values()) == {None}
