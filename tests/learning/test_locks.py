"""Numbers of a tiny float64 training, locked: `make lock` makes them anew, on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from pytest_regressions.dataframe_regression import DataFrameRegressionFixture

from reclaim.learning import train
from reclaim.records import PretrainJob
from reclaim.registry.jobs import run_folder
from reclaim.registry.recipes import RECIPES

# One thread, float64, twelve steps: what is left between CPUs is rounding in another order, some
# 1e-12 here; a wrong step or another draw shows in the third digit.
TOLERANCE = {"rtol": 1e-7, "atol": 0.0}


@pytest.fixture(autouse=True)
def _restore_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.regression
@pytest.mark.parametrize(
    "recipe", [name for name, row in RECIPES.items() if row.terms and not row.init]
)
def test_the_curve_of_a_recipe_is_locked(
    recipe: str,
    tiny_job: Callable[..., PretrainJob],
    data: Path,
    tmp_path: Path,
    dataframe_regression: DataFrameRegressionFixture,
) -> None:
    job = tiny_job(recipe, precision="float64")
    train.pretrain(job, tmp_path, data)
    curve = pd.read_csv(run_folder(tmp_path, job.recipe, job.id) / "curve.csv")
    dataframe_regression.check(curve, default_tolerance=TOLERANCE)
