"""The plots' own arithmetic, against scipy, and the SVG they become."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from reclaim.report import plots

HEIGHTS = st.lists(st.floats(-100, 100), min_size=1, max_size=12).map(sorted)


@given(HEIGHTS, st.floats(0.1, 10))
def test_labels_are_spread_as_isotonic_regression_would(heights: list[float], gap: float) -> None:
    steps = gap * np.arange(len(heights))
    expected = isotonic_regression(np.array(heights) - steps).x + steps
    assert plots.spread(heights, gap) == pytest.approx(expected, abs=1e-9)


@given(HEIGHTS, st.floats(0.1, 10))
def test_spread_labels_do_not_overlap(heights: list[float], gap: float) -> None:
    assert (np.diff(plots.spread(heights, gap)) >= gap - 1e-9).all()


def test_labels_with_room_stay_where_they_are() -> None:
    assert plots.spread([1.0, 5.0, 9.0], 2.0) == [1.0, 5.0, 9.0]
    assert plots.spread([1.0, 1.0], 2.0) == [0.0, 2.0]


@pytest.mark.parametrize("identity", [True, False])
def test_a_scatter_is_well_formed_and_names_every_recipe(identity: bool) -> None:
    rows = [
        {"recipe": "simclr", "printed": 82.35, "mean": 84.0, "sd": 0.2},
        {"recipe": "a_very_long_recipe", "printed": 82.35, "mean": 84.0, "sd": 0.0},
    ]
    svg = plots.scatter(rows, ["simclr", "a_very_long_recipe"], "measured, %", identity)
    words = {text.text for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}
    assert {"simclr", "a_very_long_recipe", "measured, %", "printed, %"} <= words
    assert ("stroke-dasharray" in svg) == identity
    assert "var(--c0)" in svg


def test_gains_leave_out_what_was_not_measured_and_keep_the_order() -> None:
    rows = [
        {"recipe": "hcl", "printed": 3.0, "difference": 1.0, "low": 0.5, "high": 1.5},
        {"recipe": "dcl", "printed": 2.0, "difference": None, "low": None, "high": None},
    ]
    svg = plots.gains(rows, ["dcl", "hcl"], "points")
    words = [text.text for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert words.index("hcl") < words.index("dcl")
    assert "points" in words
    assert "NaN" not in svg
    drawn = re.findall(r'aria-label="points: (\S+); recipe: (\w+)', svg)
    assert drawn == [("0.5", "hcl"), ("1", "hcl"), ("3", "hcl"), ("2", "dcl")]


def test_the_same_plot_is_the_same_text() -> None:
    rows = [{"recipe": "hcl", "printed": 3.0, "difference": 1.0, "low": 0.5, "high": 1.5}]
    assert plots.gains(rows, ["hcl"], "points") == plots.gains(rows, ["hcl"], "points")


def test_no_two_recipes_of_a_dozen_look_alike() -> None:
    names = [f"r{i}" for i in range(12)]
    look = plots.style(names)
    pairs = set(zip(look["color"]["scale"]["range"], look["shape"]["scale"]["range"], strict=True))
    assert len(pairs) == len(names)
