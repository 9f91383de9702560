"""Every recipe beside its controls: what raw pixels, a random encoder and labels give.

And beside two more that a plan knows: a recipe that starts from another encoder beside that
encoder, and a sweep's run beside the planned one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reclaim.inference.measurements import points
from reclaim.inference.replication import mean_interval, paired_difference
from reclaim.records import Plan, Run

if TYPE_CHECKING:
    import pandas as pd

REFERENCE = "untrained"
AGAINST = {"untrained": ("low", "high"), "start": ("start_low", "start_high"),
           "planned": ("planned_low", "planned_high")}  # fmt: skip
GAPS = tuple(name for what, ends in AGAINST.items() for name in (f"minus_{what}", *ends))
COLUMNS = (
    "dataset", "recipe", "name", "config", "variant", "start", "protocol", "metric",
    "mean", "sd", "seeds", "mean_low", "mean_high", *GAPS,
)  # fmt: skip
BySeed = Mapping[int, float]
Cells = dict[tuple[str, str], dict[int, float]]  # by protocol and metric, then seed


def controls(measurements: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Mean, SD and seeds of every metric of every config, and its differences from its controls.

    One row per config x protocol x metric, in the plan's order; accuracies in percent, differences
    in percentage points, paired by seed with a 95 % t interval (NaN where there is none), as the
    mean's own (`mean_low`, `mean_high`). `minus_untrained` (`low`, `high`): from the random encoder
    of the same network. `minus_start` (`start_low`, `start_high`): from the encoder that it starts
    from, which `start` names. `minus_planned`: of a sweep's config, whose `variant` says what it
    varies, from the planned one of the same recipe.
    """
    import pandas as pd

    rows = list(_rows(Measured.of(measurements, plan)))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(dict.fromkeys(("sd", "mean_low", "mean_high", *GAPS), float))


def _rows(measured: Measured) -> Iterator[dict[str, Any]]:
    for config, cells in measured.values.items():
        run, (start, from_what) = measured.configs[config], measured.start(config)
        name, untrained = measured.name(config), measured.untrained(config)
        others = {"untrained": untrained, "start": start, "planned": measured.planned(config)}
        beside = {what: measured.beside(config, other) for what, other in others.items()}
        for (protocol, metric), values in cells.items():
            own = mean_interval(list(values.values()))
            row: dict[str, Any] = {
                "dataset": run.dataset, "recipe": run.recipe, "name": name, "config": config,
                "variant": run.variant, "start": from_what, "protocol": protocol,
                "metric": metric, "mean": own.mean, "sd": own.sd, "seeds": own.seeds,
                "mean_low": own.interval.low if own.interval else None,
                "mean_high": own.interval.high if own.interval else None,
            }  # fmt: skip
            for what, other in beside.items():
                against = other.get((protocol, metric), {})
                row |= difference(values, against, f"minus_{what}", *AGAINST[what])
            yield row


@dataclass(frozen=True)
class Measured:
    """A plan's measurements by config; accuracies in percent."""

    plan: Plan
    values: dict[str, Cells]

    @classmethod
    def of(cls, measurements: pd.DataFrame, plan: Plan) -> Measured:
        """Join a plan with its measurements; what it does not plan is left out."""
        columns = ["run", "protocol", "metric", "value"]
        found: dict[str, list[tuple[str, str, float]]] = {}
        for run, protocol, metric, value in measurements[columns].itertuples(index=False):
            found.setdefault(run, []).append((protocol, metric, value * points(metric)))
        values: dict[str, Cells] = {}
        for planned in plan.runs:
            for protocol, metric, value in found.get(planned.id, ()):
                cells = values.setdefault(planned.config, {})
                cells.setdefault((protocol, metric), {})[planned.seed] = value
        return cls(plan, values)

    def beside(self, config: str, other: str | None) -> Cells:
        """What was measured of another config; nothing of none, or of itself."""
        return {} if other is None or other == config else self.values.get(other, {})

    @cached_property
    def configs(self) -> dict[str, Run]:
        """A run of every config, in the plan's order."""
        found: dict[str, Run] = {}
        for run in self.plan.runs:
            found.setdefault(run.config, run)
        return found

    def rivals(self, recipe: str, dataset: str) -> list[str]:
        """The planned configs of a recipe on a data set: those of no sweep."""
        return [
            config
            for config, run in self.configs.items()
            if (run.recipe, run.dataset, run.variant) == (recipe, dataset, "")
        ]

    def untrained(self, config: str) -> str | None:
        """The random encoder of the same network, measured as alike as there is one.

        Of a network that has none (raw pixels), the only one of the data set.
        """
        run, rivals = self.configs[config], self.rivals(REFERENCE, self.configs[config].dataset)
        same = [other for other in rivals if self._encoder(other) == self._encoder(config)]
        asked = set(run.protocols)
        alike = sorted(same, key=lambda other: -len(asked & set(self.configs[other].protocols)))
        return alike[0] if alike else rivals[0] if len(rivals) == 1 else None

    def start(self, config: str) -> tuple[str | None, str]:
        """The config of the run that it starts from, and what to call that."""
        init = self.configs[config].init
        by_id = {run.id: run for run in self.plan.runs}
        if init is None or init not in by_id:
            return None, init or ""
        return by_id[init].config, by_id[init].recipe

    def planned(self, config: str) -> str | None:
        """The planned config that a sweep's varies: of its recipe's, the one most like it."""
        run = self.configs[config]
        rivals = self.rivals(run.recipe, run.dataset) if run.variant else []
        own = self._settings(config)
        return min(rivals, key=lambda other: len(own ^ self._settings(other)), default=None)

    def name(self, config: str) -> str:
        """The recipe, and what tells it from the other planned configs of that recipe."""
        run = self.configs[config]
        rivals = self.rivals(run.recipe, run.dataset)
        if run.variant or len(rivals) < 2:
            return run.recipe
        labels = {other: self._label(other) for other in rivals}
        again = list(labels.values()).count(labels[config]) > 1
        return f"{run.recipe} ({labels[config]}{f', {config[-8:]}' if again else ''})"

    def _label(self, config: str) -> str:
        papers = {claim.partition(":")[0] for claim in self.configs[config].claims}
        known = self.plan.configs.get(config)
        return ", ".join(sorted(papers)) or (known.network.arch if known else "")

    def _encoder(self, config: str) -> tuple[Any, ...] | None:
        if config not in self.plan.configs:
            return None
        network = self.plan.configs[config].network
        return network.arch, network.stem, network.widths

    def _settings(self, config: str) -> set[str]:
        known = self.plan.configs.get(config)
        return set() if known is None else set(leaves(known.model_dump(mode="json")))


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """Every value of a nested structure with its path, as text."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for place, part in enumerate(value):
            yield from leaves(part, f"{path}.{place}")
    else:
        yield f"{path}={value!r}"


def difference(
    values: BySeed, reference: BySeed, name: str, low: str, high: str
) -> dict[str, float]:
    """The columns `name`, `low` and `high`, from the seeds that both have."""
    shared = sorted(values.keys() & reference.keys())
    nan = float("nan")
    if not shared:
        return {name: nan, low: nan, high: nan}
    gap = paired_difference([values[i] for i in shared], [reference[i] for i in shared])
    ends = gap.interval
    return {name: gap.mean, low: ends.low if ends else nan, high: ends.high if ends else nan}
