"""Does the prediction interval hold on the noise of real trainings?

    python -m tests.simulations.real_noise                  the table, from the committed values
    python -m tests.simulations.real_noise --train FOLDER   train what FOLDER lacks, keep the values

Two recipes at the scale `digits` with many seeds. Of these, k play the seeds of a replication and
one more the paper's single run: the interval of the k should hold it in 95 of 100 draws. Beside
it: how normal the values are, and what as many truly normal ones would give.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from reclaim.inference.replication.estimates import t_limit, varies
from reclaim.records import EvaluationManifest, Plan, PretrainJob, Run, read
from reclaim.registry.extension import further
from reclaim.registry.jobs import (
    DATA,
    committed_plan,
    data_hash,
    evaluation_folder,
    finished_run,
    job_of,
    part_of,
)

RECIPES = ("simclr", "hcl")
SEEDS = 60
KINDS = ("linear", "knn", "geometry")
SHOWN = ("linear top1", "knn top1", "geometry alignment", "geometry uniformity")
VALUES = Path("results/reference/noise/digits.csv")
SIZES = (3, 5, 10, 20)
DRAWS, NORMAL_SETS, NORMAL_DRAWS = 100_000, 400, 2_000

Floats = NDArray[np.float64]


# --- the trainings -----------------------------------------------------------------------------


def rows(seeds: int = SEEDS) -> tuple[Plan, list[Run]]:
    """The plan with further seeds of the recipes, and the rows of these, seed by seed."""
    plan = committed_plan("digits")
    configs = [run.config for run in plan.runs if run.recipe in RECIPES and run.seed == 0]
    more = further(plan, plan, [(config, seed) for config in configs for seed in range(seeds)])
    chosen = [run for run in (*plan.runs, *more.runs) if run.config in configs and run.seed < seeds]
    return plan, sorted(chosen, key=lambda run: (run.seed, RECIPES.index(run.recipe)))


def train(folder: Path, seeds: int = SEEDS) -> None:
    """Train and measure in `folder` what is not there yet, in this process, one after another."""
    from reclaim.learning.evaluate import evaluate
    from reclaim.learning.train import pretrain

    plan, chosen = rows(seeds)
    for run in chosen:
        job = job_of(plan, run)
        pretrain(job.pretrain, folder, DATA, "cpu")
        evaluate(job.pretrain, part_of(job.evaluate, KINDS), folder, DATA, "cpu")


def collect(folder: Path, seeds: int = SEEDS) -> pd.DataFrame:
    """What was measured in `folder`: a row for each recipe and seed, a column for each metric."""
    plan, chosen = rows(seeds)
    found = []
    for run in chosen:
        if _finished(job_of(plan, run).pretrain, folder):
            values: dict[str, object] = {"recipe": run.recipe, "seed": run.seed}
            for kind in KINDS:
                path = evaluation_folder(folder, run.recipe, run.id, kind) / "metrics.json"
                metrics = read(path, EvaluationManifest, "measure the run again").metrics
                values |= {f"{kind} {name}": value for name, value in metrics.items()}
            found.append(values)
    return pd.DataFrame(found).sort_values(["recipe", "seed"])


def _finished(job: PretrainJob, folder: Path) -> bool:
    return finished_run(folder, job, data_hash("digits", DATA)) is not None


# --- what they say -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Noise:
    """How a set of seeds behaves: coverage and share without an interval by k, and its shape."""

    mean: float
    sd: float
    distinct: int
    coverage: Mapping[int, float]
    flat: Mapping[int, float]
    shapiro_p: float
    skewness: float
    kurtosis: float
    straightness: float


def series(table: pd.DataFrame) -> Iterator[tuple[str, Floats]]:
    """Named values over seeds: of each recipe, and of the difference at equal seeds.

    Accuracies in percent points.
    """
    first, second = (
        table[table["recipe"] == name].set_index("seed").sort_index() for name in RECIPES
    )
    for metric in SHOWN:
        points = 100 if "top" in metric else 1
        one, two = points * first[metric], points * second[metric]
        yield f"{RECIPES[0]}, {metric}", one.to_numpy()
        yield f"{RECIPES[1]}, {metric}", two.to_numpy()
        yield f"{RECIPES[1]} − {RECIPES[0]}, {metric}", (two - one).dropna().to_numpy()


def coverage(
    values: Floats, k: int, draws: int, generator: np.random.Generator
) -> tuple[float, float]:
    """How often the interval of k values holds another one, and how often there is no interval.

    Without replacement: k + 1 of the values, in any order alike. An interval that does not exist
    (k equal values) is counted apart. ȳ ± t·s·√(1 + 1/k), as `prediction_interval`.
    """
    order = generator.random((draws, len(values))).argpartition(k, axis=1)
    chosen, other = values[order[:, :k]], values[order[:, k]]
    mean, sd = chosen.mean(axis=1), chosen.std(axis=1, ddof=1)
    exists = np.ptp(chosen, axis=1) > 1e-9 * np.abs(values).max()
    inside = np.abs(other - mean) <= t_limit(k) * sd * sqrt(1 + 1 / k)
    return float(inside[exists].mean()), float(1 - exists.mean())


def noise(values: Floats, generator: np.random.Generator, draws: int = DRAWS) -> Noise:
    """Coverage at every k, and the shape of the values."""
    assert varies(values.tolist())
    covered = {k: coverage(values, k, draws, generator) for k in SIZES}
    return Noise(
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)),
        distinct=len(np.unique(values.round(9))),
        coverage={k: share for k, (share, _) in covered.items()},
        flat={k: flat for k, (_, flat) in covered.items()},
        shapiro_p=float(stats.shapiro(values).pvalue),
        skewness=float(stats.skew(values, bias=False)),
        kurtosis=float(stats.kurtosis(values, bias=False)),
        straightness=float(stats.probplot(values)[1][2]),
    )


def normal_band(
    count: int, generator: np.random.Generator, sets: int = NORMAL_SETS
) -> list[tuple[float, float]]:
    """Where 95 % of sets of `count` normal values lie: coverage by k, skewness, kurtosis, Q-Q."""
    found = [noise(generator.standard_normal(count), generator, NORMAL_DRAWS) for _ in range(sets)]
    columns = [
        *([one.coverage[k] for one in found] for k in SIZES),
        [one.skewness for one in found],
        [one.kurtosis for one in found],
        [one.straightness for one in found],
    ]
    return [(float(np.quantile(c, 0.025)), float(np.quantile(c, 0.975))) for c in columns]


def render(table: pd.DataFrame, seed: int = 0) -> str:
    """The table of docs/statistics.md."""
    generator = np.random.default_rng(seed)
    heads = [f"k = {k}" for k in SIZES]
    heads = ["values", "n", "mean", "SD", "distinct", *heads, "Shapiro p", "skewness"]
    heads += ["excess kurtosis", "Q-Q r"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    counts = []
    for name, values in series(table):
        made = noise(values, generator)
        counts.append(len(values))
        cells = [f"{len(values)}", f"{made.mean:.4g}", f"{made.sd:.3g}", f"{made.distinct}"]
        cells += [_percent(made.coverage[k], made.flat[k]) for k in SIZES]
        cells += [f"{made.shapiro_p:.2g}", f"{made.skewness:.2f}", f"{made.kurtosis:.2f}"]
        lines.append(f"| {name} | {' | '.join([*cells, f'{made.straightness:.3f}'])} |")
    band = normal_band(min(counts), generator)
    covered = [f"{100 * low:.1f} – {100 * high:.1f}" for low, high in band[: len(SIZES)]]
    shape = [f"{low:.2f} – {high:.2f}" for low, high in band[len(SIZES) : -1]]
    shape.append(f"{band[-1][0]:.3f} – {band[-1][1]:.3f}")
    cells = [f"{min(counts)}", "", "", "", *covered, "", *shape]
    lines.append(f"| 95 % of sets of normal values | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _percent(covered: float, flat: float) -> str:
    """Coverage, and where it is not nothing the share of draws of equal values."""
    shown = f"{100 * covered:.1f}"
    return shown if flat < 0.0005 else f"{shown} ({100 * flat:.1f})"


def main() -> None:
    """Train, if asked to, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args()
    if given.train:
        train(given.train, given.seeds)
        VALUES.parent.mkdir(parents=True, exist_ok=True)
        collect(given.train, given.seeds).to_csv(VALUES, index=False, lineterminator="\n")
    print(render(pd.read_csv(VALUES)), end="")


if __name__ == "__main__":
    main()
