"""A made-up paper at `paper` scale, with margins, spreads, readings and a sweep; and its runs.

What is measured is drawn: a config has a true mean, and its seeds share what `Truth.shared` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from reclaim.inference.measurements import COLUMNS
from reclaim.inference.verdicts import judge
from reclaim.records import Cost, Plan, Run, StandIn, Verdict
from reclaim.registry.claims import Paper, Table, ValueClaim, load_papers

RECIPES = ("simclr", "hcl", "sscl", "dcl", "byol", "simclr_enlarge", "untrained", "supervised")
Values = Mapping[str, Sequence[float]]  # top-1 in percent by config, seed by seed

FILES = {
    "paper.yaml": """
title: A made-up paper
authors: Nobody
year: 2024
methods: {novel: A method without a recipe}
""",
    "protocol.yaml": """
values:
  - path: temperature
    value: 0.5
    source: assumed
    locator: nowhere
    when: {recipes: [hcl, sscl]}
    readings:
      - {value: 0.1, source: assumed, locator: elsewhere}
      - {value: 0.2, source: assumed, locator: elsewhere}
""",
    "tables/main.csv": """row,top1
simclr,80.00
hcl,82.50
sscl,84.00
dcl,80.90
""",
    "tables/main.yaml": """
title: Main results
locator: Table 1
kind: results
dataset: cifar10
evaluation: linear
baseline: simclr
margin:
  rule: half_smallest_interpreted_gap
  cells:
    - ["main[top1,hcl]", "main[top1,simclr]"]
    - ["main[top1,sscl]", "main[top1,simclr]"]
columns:
  top1: {metric: top1, unit: percent}
rows:
  simclr: {label: SimCLR, recipe: simclr}
  hcl: {label: HCL, recipe: hcl}
  sscl: {label: SSCL, recipe: sscl}
  dcl: {label: DCL, recipe: dcl}
""",
    "tables/spread.csv": """row,top1,sd
dcl,.809,.002
byol,.702,.003
novel,.900,-
""",
    "tables/spread.yaml": """
title: Means of five runs
locator: Table 2
kind: results
dataset: cifar10
evaluation: linear
runs: 5
margin:
  rule: half_smallest_interpreted_gap
  cells: [["spread[top1,dcl]", "spread[top1,byol]"]]
columns:
  top1: {metric: top1, unit: fraction}
  sd: {metric: top1, unit: fraction, statistic: sd, of: top1}
rows:
  dcl: {label: DCL, recipe: dcl}
  byol: {label: BYOL, recipe: byol}
  novel: {label: Novel, recipe: novel}
""",
    "tables/knob.csv": """row,top1
a,80.0
b,81.0
c,83.0
d,81.5
""",
    "tables/knob.yaml": """
title: A sweep of the threshold
locator: Table 3
kind: results
dataset: cifar10
evaluation: linear
columns:
  top1: {metric: top1, unit: percent}
rows:
  a: {label: "0.1", recipe: simclr_enlarge, knobs: {threshold: 0.1}}
  b: {label: "0.2", recipe: simclr_enlarge, knobs: {threshold: 0.2}}
  c: {label: "0.3", recipe: simclr_enlarge, knobs: {threshold: 0.3}}
  d: {label: "0.4", recipe: simclr_enlarge, knobs: {threshold: 0.4}}
""",
    "statements.yaml": """
statements:
  gap:
    {kind: difference, text: HCL gains 2.5., locator: here, unit: points, printed: "2.5",
     minuend: "main[top1,hcl]", subtrahend: "main[top1,simclr]"}
  relative:
    {kind: difference, text: DCL gains 1.1 % relative., locator: here, unit: relative_percent,
     printed: "1.1", minuend: "main[top1,dcl]", subtrahend: "main[top1,simclr]"}
  either:
    {kind: difference, text: DCL gains 0.9 %., locator: here, unit: percent, printed: "0.9",
     minuend: "main[top1,dcl]", subtrahend: "main[top1,simclr]"}
  all_above:
    {kind: order, text: All are above SimCLR., locator: here, lesser: ["main[top1,simclr]"],
     greater: ["main[top1,hcl]", "main[top1,sscl]", "main[top1,dcl]"]}
  most_above:
    {kind: order, text: Most are above SimCLR., locator: here, lesser: ["main[top1,simclr]"],
     greater: ["main[top1,hcl]", "main[top1,sscl]", "main[top1,dcl]"], quantifier: most}
  some_above:
    {kind: order, text: Some are above SimCLR., locator: here, lesser: ["main[top1,simclr]"],
     greater: ["main[top1,hcl]", "main[top1,sscl]", "main[top1,dcl]"], quantifier: some}
  none_above:
    {kind: order, text: None is above SimCLR., locator: here, lesser: ["main[top1,simclr]"],
     greater: ["main[top1,hcl]", "main[top1,sscl]", "main[top1,dcl]"], quantifier: none}
  best_knob:
    {kind: superlative, text: The third threshold is best., locator: here,
     best: ["knob[top1,c]"], among: ["knob[top1,*]"]}
  peak:
    {kind: trend, text: A peak., locator: here, knob: threshold, shape: peak, at: "knob[top1,c]",
     curve: ["knob[top1,a]", "knob[top1,b]", "knob[top1,c]"], values: ["0.1", "0.2", "0.3"]}
  rises:
    {kind: trend, text: It rises., locator: here, knob: threshold, shape: rises,
     curve: ["knob[top1,a]", "knob[top1,b]", "knob[top1,c]"], values: ["0.1", "0.2", "0.3"]}
  falls:
    {kind: trend, text: It falls., locator: here, knob: threshold, shape: falls,
     curve: ["knob[top1,a]", "knob[top1,b]", "knob[top1,c]"], values: ["0.1", "0.2", "0.3"]}
  little:
    {kind: magnitude, text: DCL hardly differs., locator: here, direction: increase,
     size: negligible, minuend: ["main[top1,dcl]"], subtrahend: ["main[top1,simclr]"]}
  again:
    {kind: value, text: HCL reaches 82.50., locator: here, cell: "main[top1,hcl]",
     printed: "82.50"}
""",
}

TRUE = {
    "simclr": 80.0, "hcl": 82.5, "sscl": 84.0, "dcl": 80.9, "byol": 70.2,
    "simclr_enlarge-0.1": 80.0, "simclr_enlarge-0.2": 81.0, "simclr_enlarge-0.3": 83.0,
    "simclr_enlarge-0.4": 81.5,
}  # fmt: skip
"""What is printed, to the last digit: every claim is true of these means."""


def papers(root: Path, readings: bool = False) -> dict[str, Paper]:
    """The paper `made`, written below `root` and read back; with its `readings` if asked."""
    for name, text in FILES.items():
        path = root / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if readings else text.partition("    readings:")[0])
    return load_papers(root, recipes=RECIPES, datasets=("cifar10",))


def printing(paper: Mapping[str, Paper], table: str, cells: Mapping[str, str]) -> dict[str, Paper]:
    """The same paper with other top-1 numbers in some rows of a table."""
    one = paper["made"]
    old: Table = one.tables[table]
    rows = {row: {**old.cells[row], "top1": cells.get(row, old.cells[row]["top1"])}
            for row in old.cells}  # fmt: skip
    tables = {**one.tables, table: old.model_copy(update={"cells": rows})}
    return {"made": one.model_copy(update={"tables": tables})}


def drawn(
    rng: np.random.Generator, means: Mapping[str, float], seeds: int, sd: float = 0.2
) -> dict[str, list[float]]:
    """Seeds about true means; half the variance is shared by all configs of a seed."""
    shared = rng.normal(0, sd / 2**0.5, seeds)
    return {
        name: [float(x) for x in mean + shared + rng.normal(0, sd / 2**0.5, seeds)]
        for name, mean in means.items()
    }


def config_of(claim: ValueClaim) -> str:
    """Which made-up config measures a claim."""
    return "-".join([claim.recipe, *(str(value) for value in claim.knobs.values())])


def plan_of(paper: Mapping[str, Paper], values: Values, scale: str = "paper") -> Plan:
    """A run for every config and seed; a name with `@` is a reading of the config before it."""
    claims = [claim for one in paper.values() for claim in one.cells()]
    runs = tuple(
        Run(
            id=f"{name}-s{seed}", recipe=name.split("-")[0].split("@")[0], dataset="cifar10",
            seed=seed, config=name, protocols=("linear",), variant=name.partition("@")[2],
            claims=tuple(claim.id for claim in claims if config_of(claim) == name),
            cost=Cost(steps=1, images_seen=1),
        )
        for name, numbers in values.items()
        for seed in range(len(numbers))
    )  # fmt: skip
    readings: dict[str, dict[str, StandIn]] = {}
    for name in values:
        base, _, reading = name.partition("@")
        if reading:
            readings.setdefault(base, {})[reading] = StandIn(config=name)
    return Plan(scale=scale, configs={}, protocols={}, readings=readings, runs=runs)


def frame_of(values: Values, scale: str = "paper") -> pd.DataFrame:
    """The measurements of `values`; what is NaN was not measured."""
    rows = [
        (1, scale, f"{name}-s{seed}", name.split("-")[0].split("@")[0], "cifar10", seed, "linear",
         "top1", number / 100, "c0de")
        for name, numbers in values.items()
        for seed, number in enumerate(numbers)
        if not np.isnan(number)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def judged(
    paper: Mapping[str, Paper],
    values: Values,
    scale: str = "paper",
    added: frozenset[str] = frozenset(),
) -> dict[str, Verdict]:
    """Verdicts by claim, without the paper's name."""
    frame = frame_of(values, scale)
    made = judge(scale, paper, plan_of(paper, values, scale), frame, added=added)
    return {verdict.claim.removeprefix("made:"): verdict for verdict in made.verdicts}
