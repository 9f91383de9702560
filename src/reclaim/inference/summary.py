"""A scale in a few numbers and curves: what `dvc metrics` and `dvc plots` show and compare.

Both are of the planned runs alone, the same whether or not sweeps were run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reclaim import records
from reclaim.inference.measurements import points
from reclaim.records import Plan, ReclaimError, RunManifest, Verdict, Verdicts
from reclaim.registry.jobs import run_folder

if TYPE_CHECKING:
    import pandas as pd

CURVES, SUMMARY = "curves.csv", "summary.json"
METRIC = "top1"


def write_curves(plan: Plan, results: Path, runs: Collection[str]) -> Path:
    """Write curves.csv from the curves of those runs: a recipe's mean loss by epoch.

    Raises ReclaimError for a curve that is not the one its run left.
    """
    import pandas as pd

    empty = pd.DataFrame({"recipe": [], "epoch": [], "loss": []})
    found = pd.concat([empty, *_curves(plan, results / plan.scale, runs)])
    means = found.groupby(["recipe", "epoch"], as_index=False)["loss"].mean()
    target = results / plan.scale / CURVES
    records.write_text(target, means.to_csv(index=False, lineterminator="\n"))
    return target


def _curves(plan: Plan, folder: Path, runs: Collection[str]) -> Iterator[pd.DataFrame]:
    import pandas as pd

    for run in plan.runs:
        path = run_folder(folder, run.recipe, run.id) / "curve.csv"
        if run.id in runs and not run.variant and path.is_file():
            made = records.read(path.parent / "run.json", RunManifest, "train the run again")
            if made.files.get(path.name) != records.stamp(path):
                raise ReclaimError(f"{path}: changed since run.json was written; train it again")
            yield pd.read_csv(path)[["epoch", "loss"]].assign(recipe=run.recipe)


def write_summary(folder: Path, plan: Plan, verdicts: Verdicts, measured: pd.DataFrame) -> Path:
    """Write summary.json from a plan's verdicts and measurements."""
    planned = {run.id for run in plan.runs if not run.variant}
    rows = [run in planned for run in measured["run"].tolist()]
    made = summary(verdicts.verdicts, measured[rows])
    records.write_text(folder / SUMMARY, json.dumps(made, indent=1) + "\n")
    return folder / SUMMARY


def summary(verdicts: Sequence[Verdict], measured: pd.DataFrame) -> dict[str, Any]:
    """How many claims stand how; by protocol each recipe's mean top-1 over seeds, in percent.

    `recipes` holds the same means as rows, for plots.
    """
    stand = Counter(verdict.transfer or verdict.verdict.split(":")[0] for verdict in verdicts)
    means: dict[str, dict[str, float]] = {}
    rows: dict[str, dict[str, Any]] = {}
    several = measured["dataset"].nunique() > 1
    cells = measured[measured["metric"] == METRIC].groupby(["protocol", "recipe", "dataset"])
    for (protocol, recipe, dataset), part in cells:
        name = f"{recipe} on {dataset}" if several else str(recipe)
        mean = round(points(METRIC) * float(part["value"].mean()), 4)
        means.setdefault(str(protocol), {})[name] = mean
        rows.setdefault(name, {"recipe": name})[str(protocol)] = mean
    return {"claims": dict(sorted(stand.items())), **means, "recipes": list(rows.values())}
