"""The method table: every recipe as a row of data, and the knobs its steps take.

To add a method, add a row; a new step is one function in `learning.steps` and one line in
`STEP_KNOBS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from reclaim.records import ReclaimError, Step, Term

Value = float | int | bool


@dataclass(frozen=True)
class Knob:
    """A number a step takes: its default is a value, or a function of the batch size B."""

    meaning: str
    default: Value | Callable[[int], Value]
    fits: Callable[[Value], bool]
    range: str

    def default_for(self, batch: int) -> Value:
        """The default for a batch of so many images."""
        return self.default(batch) if callable(self.default) else self.default


def _whole(least: int) -> Callable[[Value], bool]:
    return lambda value: type(value) is int and value >= least


def _real(least: float, below: float) -> Callable[[Value], bool]:
    return lambda value: type(value) in (int, float) and least <= value < below


KNOBS = {
    "prior": Knob("tau+, the share of false negatives", 0.1, _real(0, 1), "[0, 1)"),
    "beta": Knob("how strongly hard negatives weigh", 1.0, _real(0, inf), "[0, inf)"),
    "hardest": Knob("s, how many are mixed from", lambda b: max(2, b // 8), _whole(1), "1, 2, ..."),
    "synthetics": Knob("k, how many are made", lambda b: max(1, b // 32), _whole(0), "0, 1, ..."),
    "mix": Knob("mix two negatives, or repeat one", True, lambda v: v in (0, 1), "true or false"),
}

STEP_KNOBS = {
    "mix_pairs": ("hardest", "synthetics", "mix"),
    "harden": ("beta",),
    "debias": ("prior",),
}


@dataclass(frozen=True)
class TermRow:
    """A term: its pairing (None: straight to the loss), its steps in order, its loss."""

    pairing: str | None
    steps: tuple[str, ...] = ()
    loss: str = "contrast"
    weight: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """A method. `fixed` pins knobs; a recipe without terms is not trained."""

    summary: str
    terms: tuple[TermRow, ...] = ()
    fixed: Mapping[str, Value] = field(default_factory=dict)
    arch: str | None = None
    control: bool = False


def _in_batch(summary: str, *steps: str, **fixed: Value) -> Recipe:
    return Recipe(summary, (TermRow("in_batch", steps),), fixed)


RECIPES = {
    "simclr": _in_batch("two views against the batch (Chen et al. 2020)"),
    "dcl": _in_batch("debiased negatives (Chuang et al. 2020)", "debias"),
    "hcl": _in_batch("hard, debiased negatives (Robinson et al. 2021)", "harden", "debias"),
    "sscl_synthesis": _in_batch("mixed hard negatives added (Dong et al. 2024)", "mix_pairs"),
    "sscl_synthesis_debias": _in_batch(
        "mixed hard negatives, debiased (Dong et al. 2024)", "mix_pairs", "debias"
    ),
    "sscl": _in_batch(
        "mixed, hard, debiased negatives (Dong et al. 2024)", "mix_pairs", "harden", "debias"
    ),
    "sscl_released": _in_batch(
        "as the authors' file runs: hard negatives repeated, not mixed",
        "mix_pairs", "harden", "debias", mix=False,
    ),
    "untrained": Recipe("a random encoder", control=True),
    "raw_pixels": Recipe("no encoder: the pixels themselves", arch="pixels", control=True),
    "supervised": Recipe(
        "the same network and budget, with labels", (TermRow(None, loss="classify"),), control=True
    ),
}  # fmt: skip

_QUEUE = "needs an EMA key encoder and a queue, which this version does not have"
_TWIN = "needs an EMA twin, which this version does not have"
_ENLARGE = "needs the Enlarge Distance step, which this version does not have"
_MINED = "needs mined positives and an EMA key encoder, which this version does not have"

NOT_YET = {
    "moco_v1": _QUEUE,
    "moco_v2": _QUEUE,
    "mochi": _QUEUE,
    "moco_sscl_synthesis": _QUEUE,
    "moco_sscl_sampling": _QUEUE,
    "moco_sscl": _QUEUE,
    "byol": _TWIN,
    "dino": _TWIN,
    "simclr_dino": "needs an encoder that DINO trained, which this version does not have",
    "simclr_enlarge": _ENLARGE,
    "simclr_dino_enlarge": _ENLARGE,
    "psm_released": _MINED,
    "psm_soft": _MINED,
}


def recipe(name: str) -> Recipe:
    """The row of a recipe. Raises ReclaimError for one that is unknown or cannot run yet."""
    if name in RECIPES:
        return RECIPES[name]
    if name in NOT_YET:
        raise ReclaimError(f"recipe {name!r} {NOT_YET[name]}; runnable: {', '.join(RECIPES)}")
    near = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ReclaimError(f"unknown recipe {name!r}: {hint}known: {', '.join(RECIPES)}")


def knobs_of(name: str) -> tuple[str, ...]:
    """The knobs a recipe leaves open, in the order its steps use them."""
    row = recipe(name)
    used = (knob for term in row.terms for step in term.steps for knob in STEP_KNOBS[step])
    return tuple(dict.fromkeys(knob for knob in used if knob not in row.fixed and knob != "mix"))


def resolve_terms(name: str, batch: int, knobs: Mapping[str, Value]) -> tuple[Term, ...]:
    """A recipe's terms with every knob filled in: pinned by the row, else given, else its default.

    Raises ReclaimError for a value out of range, or more hard or synthetic negatives than the
    2B - 2 negatives that a batch of B images gives.
    """
    row = recipe(name)

    def value(knob: str) -> Value:
        chosen = row.fixed.get(knob, knobs.get(knob, KNOBS[knob].default_for(batch)))
        if not KNOBS[knob].fits(chosen):
            raise ReclaimError(
                f"{knob} = {chosen} for recipe {name!r} ({KNOBS[knob].meaning}): "
                f"give a value in {KNOBS[knob].range}"
            )
        if knob in ("hardest", "synthetics") and chosen > 2 * batch - 2:
            raise ReclaimError(
                f"{knob} = {chosen} for recipe {name!r}: a batch of {batch} images has "
                f"{2 * batch - 2} negatives; take {knob} at most that, or a larger batch"
            )
        return chosen

    return tuple(
        Term(
            pairing=term.pairing,
            steps=tuple(
                Step(name=step, knobs={knob: value(knob) for knob in STEP_KNOBS[step]})
                for step in term.steps
            ),
            loss=term.loss,
            weight=term.weight,
        )
        for term in row.terms
    )
