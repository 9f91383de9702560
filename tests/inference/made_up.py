"""A made-up paper and made-up measurements, small enough to judge by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from reclaim.inference.measurements import COLUMNS
from reclaim.records import Cost, Plan, Run
from reclaim.registry.claims import Paper, ValueClaim, load_papers

RECIPES = ("simclr", "hcl", "sscl", "moco_v2")
Values = Mapping[str, Mapping[str, Sequence[float]]]

FILES = {
    "paper.yaml": """
title: "A <b>bold</b> paper & more"
authors: Nobody
year: 2024
url: https://example.org/paper
""",
    "tables/main.csv": """row,cifar10.top1,cifar10.top5
simclr,80.00,99.0
hcl,82.50,99.2
sscl,79.00,98.5
moco_v2,70.00,97.0
""",
    "tables/main.yaml": """
title: Main results
locator: Table 1
kind: results
evaluation: linear
baseline: simclr
columns:
  cifar10.top1: {dataset: cifar10, metric: top1, unit: percent}
  cifar10.top5: {dataset: cifar10, metric: top5, unit: percent}
rows:
  simclr: {label: SimCLR, recipe: simclr, role: baseline}
  hcl: {label: "HCL <script>alert(1)</script>", recipe: hcl}
  sscl: {label: SSCL, recipe: sscl}
  moco_v2: {label: MoCo v2, recipe: moco_v2}
""",
    "tables/sweep.csv": """row,top1
one,80.0
two,82.0
three,81.0
""",
    "tables/sweep.yaml": """
title: A sweep of k
locator: Table 2
kind: results
evaluation: linear
dataset: cifar10
columns:
  top1: {metric: top1, unit: percent}
rows:
  one: {label: k = 1, recipe: sscl, knobs: {synthetics: 1}}
  two: {label: k = 2, recipe: sscl, knobs: {synthetics: 2}}
  three: {label: k = 3, recipe: sscl, knobs: {synthetics: 3}}
""",
    "tables/tuned.csv": """row,top1
simclr,88.0
hcl,90.0
""",
    "tables/tuned.yaml": """
title: The same, fine-tuned
locator: Table 3
kind: results
evaluation: fine_tune
dataset: cifar10
baseline: simclr
columns:
  top1: {metric: top1, unit: percent}
rows:
  simclr: {label: SimCLR, recipe: simclr, role: baseline}
  hcl: {label: HCL, recipe: hcl}
""",
    "divergences.yaml": """
divergences:
  mixing:
    what: "How negatives are <i>mixed</i>"
    where: Equation 1 against model.py
    paths: [knobs.synthetics]
    readings:
      - {value: 8, source: printed, locator: Equation 1}
      - {value: 16, source: released-code, locator: model.py, note: An old default.}
    default: 8
    why: The paper is explicit & clear.
""",
    "statements.yaml": """
statements:
  tuning:
    {kind: difference, text: Fine-tuning gives HCL 7.5 more., locator: here, unit: points,
     minuend: "tuned[top1,hcl]", subtrahend: "main[cifar10.top1,hcl]", printed: "7.5"}
  gap:
    {kind: difference, text: "HCL is 2.5 above <i>SimCLR</i>.", locator: here, unit: points,
     minuend: "main[cifar10.top1,hcl]", subtrahend: "main[cifar10.top1,simclr]", printed: "2.5"}
  gap_below:
    {kind: difference, text: SSCL is 1 below SimCLR., locator: here, unit: points,
     minuend: "main[cifar10.top1,sscl]", subtrahend: "main[cifar10.top1,simclr]", printed: "-1.0"}
  gap_nil:
    {kind: difference, text: No gap., locator: here, unit: points,
     minuend: "main[cifar10.top1,hcl]", subtrahend: "main[cifar10.top1,sscl]", printed: "0.0"}
  best:
    {kind: superlative, text: HCL is best., locator: here, best: ["main[cifar10.top1,hcl]"],
     among: ["main[cifar10.top1,*]"]}
  best_measured:
    {kind: superlative, text: HCL is best of three., locator: here,
     best: ["main[cifar10.top1,hcl]"],
     among: ["main[cifar10.top1,simclr]", "main[cifar10.top1,sscl]"]}
  best_mostly:
    {kind: superlative, text: HCL is mostly best., locator: here, quantifier: most,
     best: ["main[*,hcl]"], among: ["main[*,simclr]", "main[*,sscl]"]}
  order:
    {kind: order, text: SimCLR beats SSCL., locator: here, greater: ["main[*,simclr]"],
     lesser: ["main[*,sscl]"]}
  drop:
    {kind: magnitude, text: SSCL loses a lot., locator: here, direction: decrease, size: large,
     minuend: ["main[cifar10.top1,sscl]"], subtrahend: ["main[cifar10.top1,simclr]"]}
  nothing:
    {kind: magnitude, text: HCL gains next to nothing., locator: here, direction: increase,
     size: negligible, minuend: ["main[cifar10.top1,hcl]"],
     subtrahend: ["main[cifar10.top1,simclr]"]}
  peak:
    {kind: trend, text: Best at 2., locator: here, knob: synthetics, shape: peak,
     curve: ["sweep[top1,one]", "sweep[top1,two]", "sweep[top1,three]"], values: ["1", "2", "3"],
     at: "sweep[top1,two]"}
  rises:
    {kind: trend, text: It rises., locator: here, knob: synthetics, shape: rises,
     curve: ["sweep[top1,one]", "sweep[top1,two]", "sweep[top1,three]"], values: ["1", "2", "3"]}
  unsteady:
    {kind: trend, text: It does not keep rising., locator: here, knob: synthetics,
     shape: no_steady_rise, values: ["1", "2", "3"],
     curve: ["sweep[top1,one]", "sweep[top1,two]", "sweep[top1,three]"]}
  again:
    {kind: value, text: HCL reaches 82.5., locator: here, cell: "main[cifar10.top1,hcl]",
     printed: "82.5"}
  total:
    {kind: sum, text: Together 162.5., locator: here, printed: "162.5",
     terms: ["main[cifar10.top1,hcl]", "main[cifar10.top1,simclr]"]}
  picture:
    {kind: unprinted, text: The picture looks better., locator: here, unprinted: A picture.}
""",
}


def papers(root: Path, evaluation: str = "linear") -> dict[str, Paper]:
    """The paper `made_up`, written below `root` and read back; all its numbers by `evaluation`."""
    for name, text in FILES.items():
        path = root / "made_up" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("evaluation: linear", f"evaluation: {evaluation}"))
    return load_papers(root, recipes=RECIPES, datasets=("cifar10",))


def values_of(papers: Mapping[str, Paper]) -> dict[str, ValueClaim]:
    """All value claims by id."""
    claims = (claim for paper in papers.values() for claim in paper.claims)
    return {claim.id: claim for claim in claims if isinstance(claim, ValueClaim)}


def name_of(claim: ValueClaim) -> str:
    """Which made-up config measures a claim: its recipe and knobs."""
    return "-".join([claim.recipe, *(str(value) for value in claim.knobs.values())])


def plan_of(scale: str, papers: Mapping[str, Paper], values: Values, **not_run: str) -> Plan:
    """A plan with a run for every config of `values` and seed; other claims are in `not_run`."""
    claims = values_of(papers)
    runs = [
        Run(
            id=f"{name}-s{seed}", recipe=name.split("-")[0], dataset="made", seed=seed,
            config=name, protocols=("linear", "knn", "fine_tune"), variant=name.partition("-")[2],
            claims=tuple(c.id for c in claims.values() if name_of(c) == name),
            cost=Cost(steps=1, images_seen=1),
        )
        for name, metrics in values.items()
        for seed in range(max(len(numbers) for numbers in metrics.values()))
    ]  # fmt: skip
    reasons = {c.id: not_run[c.recipe] for c in claims.values() if c.recipe in not_run}
    return Plan(scale=scale, configs={}, protocols={}, not_run=reasons, runs=tuple(runs))


def frame_of(scale: str, values: Values, protocol: str = "linear") -> pd.DataFrame:
    """Measurements of `values`: config name, metric, a number per seed (accuracies in percent)."""
    rows = [
        (1, scale, f"{name}-s{seed}", name.split("-")[0], "made", seed, protocol, metric,
         number / (100 if metric.startswith("top") else 1), "c0de")
        for name, metrics in values.items()
        for metric, numbers in metrics.items()
        for seed, number in enumerate(numbers)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


BASE: Values = {
    "simclr": {"top1": [80.1, 80.3, 79.9, 80.2], "top5": [99.0, 99.1, 98.9, 99.0]},
    "hcl": {"top1": [82.0, 82.3, 81.7, 82.1], "top5": [99.1, 99.0, 99.0, 98.9]},
    "sscl": {"top1": [81.0, 81.3, 80.7, 81.2], "top5": [98.0, 98.2, 97.9, 98.1]},
    "sscl-1": {"top1": [80.0, 80.2, 79.9, 80.1]},
    "sscl-2": {"top1": [82.0, 82.3, 81.8, 82.1]},
    "sscl-3": {"top1": [81.0, 81.3, 80.7, 81.2]},
}
