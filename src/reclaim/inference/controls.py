"""Every recipe beside its controls: what raw pixels, a random encoder and labels give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reclaim.inference.measurements import points
from reclaim.inference.replication import Estimate, mean_interval, paired_difference

if TYPE_CHECKING:
    import pandas as pd

REFERENCE = "untrained"


def controls(measurements: pd.DataFrame) -> pd.DataFrame:
    """Mean, SD and seeds of every metric of every recipe, and its difference from `untrained`.

    One row per dataset x recipe x protocol x metric; accuracies in percent, differences in
    percentage points, paired by seed with a 95 % t interval (`low`, `high`; NaN where there is
    none). Several runs of one recipe and seed enter as their mean.
    """
    import pandas as pd

    cell = ["dataset", "protocol", "metric"]
    rows: list[dict[str, Any]] = []
    for (dataset, protocol, metric), part in measurements.groupby(cell):
        seeds = part.groupby(["recipe", "seed"])["value"].mean() * points(str(metric))
        by_recipe = {name: dict(of.droplevel(0)) for name, of in seeds.groupby("recipe")}
        for recipe, values in by_recipe.items():
            own = mean_interval(list(values.values()))
            against = difference(values, by_recipe.get(REFERENCE, {}), recipe == REFERENCE)
            rows.append(
                {"dataset": dataset, "recipe": recipe, "protocol": protocol, "metric": metric,
                 "mean": own.mean, "sd": own.sd, "seeds": own.seeds, **against}
            )  # fmt: skip
    return pd.DataFrame(rows).astype({"sd": float})


def difference(
    values: dict[int, float], reference: dict[int, float], itself: bool
) -> dict[str, float]:
    """The columns `minus_untrained`, `low` and `high`, from the seeds that both have."""
    shared = sorted(values.keys() & reference.keys())
    gap: Estimate | None = None
    if shared and not itself:
        gap = paired_difference([values[i] for i in shared], [reference[i] for i in shared])
    nan = float("nan")
    interval = gap.interval if gap else None
    return {
        "minus_untrained": gap.mean if gap else nan,
        "low": interval.low if interval else nan,
        "high": interval.high if interval else nan,
    }
