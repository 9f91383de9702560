"""The coverage on real noise follows from the committed values, by the package's own interval."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from reclaim.inference.replication.estimates import prediction_interval
from reclaim.registry.jobs import committed_plan
from tests.simulations import real_noise

DRAWS = 20_000


@pytest.mark.parametrize("k", [2, 3])
def test_coverage_is_that_of_the_packages_interval(k: int) -> None:
    values = np.array([1.0, 2.0, 2.0, 4.5, 9.0])
    held = []
    for chosen in permutations(values.tolist(), k + 1):
        interval = prediction_interval(chosen[:k])
        if interval is not None:
            held.append(interval.low <= chosen[k] <= interval.high)
    flat = 1 - len(held) / len(list(permutations(values, k + 1)))
    covered, none = real_noise.coverage(values, k, DRAWS, np.random.default_rng(0))
    assert covered == pytest.approx(np.mean(held), abs=4 * 0.5 / DRAWS**0.5)
    assert none == pytest.approx(flat, abs=4 * 0.5 / DRAWS**0.5)


def test_normal_noise_is_covered_and_a_heavy_tail_shows() -> None:
    generator = np.random.default_rng(0)
    normal = real_noise.noise(generator.standard_normal(2_000), generator, DRAWS)
    assert all(0.94 < share < 0.96 for share in normal.coverage.values())
    assert normal.straightness > 0.995
    assert normal.shapiro_p > 0.01
    heavy = real_noise.noise(generator.exponential(size=2_000), generator, DRAWS)
    assert heavy.coverage[3] < 0.94
    assert heavy.shapiro_p < 1e-6
    assert heavy.skewness > 1


def test_the_rows_are_further_seeds_of_the_committed_configs() -> None:
    plan, chosen = real_noise.rows()
    assert len(chosen) == len(real_noise.RECIPES) * real_noise.SEEDS
    assert {run.seed for run in chosen} == set(range(real_noise.SEEDS))
    assert {run.config for run in chosen} <= set(plan.configs)
    assert len({run.id for run in chosen}) == len(chosen)


def test_the_committed_values_are_whole_and_begin_with_the_reference() -> None:
    table = pd.read_csv(real_noise.VALUES)
    assert not table.isna().to_numpy().any()
    seeds = table.groupby("recipe")["seed"].apply(sorted).to_dict()
    assert seeds == {name: list(range(real_noise.SEEDS)) for name in real_noise.RECIPES}
    measured = pd.read_csv("results/reference/digits/measurements.csv")
    planned = {run.id: run for run in committed_plan("digits").runs}
    for row in measured[measured["run"].isin(planned)].itertuples():
        if row.recipe in real_noise.RECIPES and row.protocol in real_noise.KINDS:
            [again] = table[(table["recipe"] == row.recipe) & (table["seed"] == row.seed)][
                f"{row.protocol} {row.metric}"
            ]
            assert again == row.value, (row.run, row.metric)
