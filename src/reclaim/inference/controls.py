"""Every recipe beside its controls: what raw pixels, a random encoder and labels give.

And beside two more that a plan knows: a recipe that starts from another encoder beside that
encoder, and a sweep's run beside the planned one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reclaim.inference.measurements import points
from reclaim.inference.replication.estimates import Estimate, mean_interval, paired_difference
from reclaim.records import Plan, Run
from reclaim.registry.recipes import CONTROLS, SUPERVISED, UNTRAINED

if TYPE_CHECKING:
    import pandas as pd

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
        names = ("run", "protocol", "metric", "value")
        columns = (measurements[name].tolist() for name in names)
        found: dict[str, list[tuple[str, str, float]]] = {}
        for run, protocol, metric, value in zip(*columns, strict=True):
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

    @cached_property
    def _planned(self) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], list[str]] = {}
        for config, run in self.configs.items():
            if not run.variant:
                found.setdefault((run.recipe, run.dataset), []).append(config)
        return found

    @cached_property
    def _config_of(self) -> dict[str, str]:
        return {run.id: run.config for run in self.plan.runs}

    def rivals(self, recipe: str, dataset: str) -> list[str]:
        """The planned configs of a recipe on a data set: those of no sweep."""
        return self._planned.get((recipe, dataset), [])

    def untrained(self, config: str) -> str | None:
        """The random encoder of the same network, measured as alike as there is one.

        Of a network that has none (raw pixels), the only one of the data set.
        """
        rivals = self.rivals(UNTRAINED, self.configs[config].dataset)
        return self._alike(config, rivals) or (rivals[0] if len(rivals) == 1 else None)

    def supervised(self, config: str) -> str | None:
        """The same network trained with labels, measured as alike as there is one."""
        return self._alike(config, self.rivals(SUPERVISED, self.configs[config].dataset))

    def _alike(self, config: str, rivals: Sequence[str]) -> str | None:
        """Of some configs the one of the same network that shares most protocols with this one."""
        own, asked = self._encoder(config), set(self.configs[config].protocols)
        same = [other for other in rivals if self._encoder(other) == own]
        shared = {other: len(asked & set(self.configs[other].protocols)) for other in same}
        return max(shared, key=shared.__getitem__, default=None)

    def control(self, config: str, protocol: str, metric: str) -> str | None:
        """Where a result stands between its controls, those of its own initialisation.

        `not above untrained`: not clearly above the encoder it started from; `above supervised`:
        clearly above the labels; else `bracketed`. None where a control or an interval is missing.
        """
        run, kind = self.configs[config], (protocol, metric)
        if run.recipe in CONTROLS:
            return None
        below = self.untrained(config) if run.init is None else self.start(config)[0]
        above = self.supervised(config) if run.init is None else None
        own = self.values.get(config, {}).get(kind, {})
        gains = [gap(own, self.beside(config, other).get(kind, {})) for other in (below, above)]
        if (gain := gains[0]) is None or gain.interval is None:
            return None
        if gain.interval.low <= 0:
            return "not above untrained"
        if (lead := gains[1]) is None or lead.interval is None:
            return None
        return "above supervised" if lead.interval.low > 0 else "bracketed"

    def start(self, config: str) -> tuple[str | None, str]:
        """The config of the run that it starts from, and what to call that."""
        init = self.configs[config].init
        if init is None or init not in self._config_of:
            return None, init or ""
        first = self._config_of[init]
        return first, self.configs[first].recipe

    def planned(self, config: str) -> str | None:
        """The planned config that a sweep's varies: of its recipe's, the one most like it."""
        run = self.configs[config]
        rivals = self.rivals(run.recipe, run.dataset) if run.variant else []
        if len(rivals) < 2:
            return rivals[0] if rivals else None
        own = self._settings(config)
        return min(rivals, key=lambda other: len(own ^ self._settings(other)))

    def name(self, config: str) -> str:
        """The recipe, and what tells it from the other planned configs of that recipe."""
        run = self.configs[config]
        if run.variant or len(self.rivals(run.recipe, run.dataset)) < 2:
            return run.recipe
        label = self._label(config)
        again = self._labels[run.recipe, run.dataset][label] > 1
        return f"{run.recipe} ({label}{f', {config[-8:]}' if again else ''})"

    @cached_property
    def _labels(self) -> dict[tuple[str, str], Counter[str]]:
        return {
            what: Counter(self._label(config) for config in rivals)
            for what, rivals in self._planned.items()
        }

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


def gap(values: BySeed, reference: BySeed) -> Estimate | None:
    """The paired difference over the seeds that both have; None where they share none."""
    shared = sorted(values.keys() & reference.keys())
    if not shared:
        return None
    return paired_difference([values[i] for i in shared], [reference[i] for i in shared])


def difference(
    values: BySeed, reference: BySeed, name: str, low: str, high: str
) -> dict[str, float]:
    """The columns `name`, `low` and `high`, from the seeds that both have."""
    found, nan = gap(values, reference), float("nan")
    if found is None:
        return {name: nan, low: nan, high: nan}
    ends = found.interval
    return {name: found.mean, low: ends.low if ends else nan, high: ends.high if ends else nan}
