"""The table of controls against scipy, recipe by recipe."""

import pytest
from scipy import stats

from reclaim.inference.controls import controls
from tests.inference.made_up import frame_of

VALUES = {
    "simclr": {"top1": [80.0, 80.5, 79.5], "uniformity": [-2.0, -2.1, -2.2]},
    "untrained": {"top1": [70.0, 71.0, 69.5], "uniformity": [-1.0, -1.0, -1.0]},
    "raw_pixels": {"top1": [75.0, 75.0, 75.0]},
    "supervised": {"top1": [90.0]},
}


def test_every_recipe_is_paired_with_untrained_by_seed() -> None:
    table = controls(frame_of("digits", VALUES)).set_index(["recipe", "metric"])
    row = table.loc[("simclr", "top1")]
    test = stats.ttest_rel(VALUES["simclr"]["top1"], VALUES["untrained"]["top1"])
    low, high = test.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((low, high), rel=1e-9)
    assert row["minus_untrained"] == pytest.approx(29.5 / 3)
    assert (row["mean"], row["sd"], row["seeds"]) == (pytest.approx(80), pytest.approx(0.5), 3)


def test_metrics_that_are_no_accuracies_keep_their_unit() -> None:
    table = controls(frame_of("digits", VALUES)).set_index(["recipe", "metric"])
    assert table.loc[("simclr", "uniformity"), "mean"] == pytest.approx(-2.1)
    assert table.loc[("simclr", "uniformity"), "minus_untrained"] == pytest.approx(-1.1)


def test_what_cannot_be_compared_is_blank() -> None:
    table = controls(frame_of("digits", VALUES)).set_index(["recipe", "metric"])
    blank = table["minus_untrained"].isna()
    assert list(table.index[blank].get_level_values("recipe")) == ["untrained", "untrained"]
    assert table["low"].isna().loc[("supervised", "top1")]  # one seed: a gap without an interval
    alone = {"simclr": VALUES["simclr"]}
    assert controls(frame_of("digits", alone))["minus_untrained"].isna().all()
