"""The method table: every recipe as a row of data, and the knobs its steps take.

To add a method, add a row; a new step is one function in `learning.steps` and one line in
`PART_KNOBS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from reclaim.records import ReclaimError, Sees, Step, Term, did_you_mean

Value = float | int | bool
Default = Value | Callable[[int, int | None], Value]


@dataclass(frozen=True)
class Knob:
    """A number a part takes: its default is a value, or a function of the batch size and queue."""

    meaning: str
    default: Default
    fits: Callable[[Value], bool]
    range: str

    def default_for(self, batch: int, queue: int | None) -> Value:
        """The default for a batch of so many images and a queue of so many keys."""
        return self.default(batch, queue) if callable(self.default) else self.default


def _whole(least: int) -> Callable[[Value], bool]:
    return lambda value: type(value) is int and value >= least


def _real(least: float, below: float) -> Callable[[Value], bool]:
    return lambda value: type(value) in (int, float) and least <= value < below


def _above(least: float) -> Callable[[Value], bool]:
    return lambda value: type(value) in (int, float) and least < value < inf


def _choice(value: Value) -> bool:
    return value in (0, 1)


def _part(of_batch: int, least: int, of_queue: int) -> Callable[[int, int | None], Value]:
    return lambda batch, queue: queue // of_queue if queue else max(least, batch // of_batch)


KNOBS = {
    "prior": Knob("tau+, the share of false negatives", 0.1, _real(0, 1), "[0, 1)"),
    "beta": Knob("how strongly hard negatives weigh", 1.0, _real(0, inf), "[0, inf)"),
    "hardest": Knob("s, how many are mixed from", _part(8, 2, 16), _whole(1), "1, 2, ..."),
    "synthetics": Knob("k, how many are made", _part(32, 1, 16), _whole(0), "0, 1, ..."),
    "query_mixes": Knob(
        "s', how many are mixed with the query", _part(64, 1, 128), _whole(0), "0, 1, ..."
    ),
    "start": Knob("the first epoch that mixes", 0, _whole(0), "0, 1, ..."),
    "mix": Knob("mix two negatives, or repeat one", True, _choice, "true or false"),
    "threshold": Knob("theta, below which similarity is lowered", 0.75, _real(-1, 2), "[-1, 2)"),
    "delta": Knob("by how much it is lowered", 0.5, _real(0, 2), "[0, 2)"),
    "unit_interval": Knob("similarity in [0, 1]", False, _choice, "true or false"),
    "neighbours": Knob("K, how many positives are mined", 5, _whole(1), "1, 2, ..."),
    "soft": Knob("weigh mined positives by attention", False, _choice, "true or false"),
    "sharpness": Knob("a, how narrowly negatives are accepted", 0.5, _real(0, inf), "[0, inf)"),
    "shift": Knob("b, how far above the positive", 0.0, _real(-inf, inf), "the real numbers"),
    "raw": Knob("accept by raw products", False, _choice, "true or false"),
    "teacher_temperature": Knob("how sharp the teacher is", 0.04, _above(0), "(0, inf)"),
}
COUNTS = ("hardest", "synthetics", "query_mixes", "neighbours")

PART_KNOBS = {
    "mix_pairs": ("hardest", "synthetics", "mix", "start"),
    "mix_query": ("hardest", "query_mixes", "start"),
    "harden": ("beta",),
    "enlarge": ("threshold", "delta", "unit_interval"),
    "accept": ("sharpness", "shift", "raw"),
    "debias": ("prior",),
    "neighbour_group": ("neighbours", "soft"),
    "distil": ("teacher_temperature",),
}


@dataclass(frozen=True)
class TermRow:
    """A term: its pairing (None: straight to the loss), its steps in order, its loss.

    Of this term alone `fixed` pins knobs, and `defaults` are theirs where nothing else is said;
    `symmetric` counts it both ways round.
    """

    pairing: str | None
    steps: tuple[str, ...] = ()
    loss: str = "contrast"
    weight: float = 1.0
    symmetric: bool = False
    fixed: Mapping[str, Value] = field(default_factory=dict)
    defaults: Mapping[str, Value] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of all that may take knobs."""
        return (*([self.pairing] if self.pairing else []), *self.steps, self.loss)


@dataclass(frozen=True)
class Recipe:
    """A method. `fixed` pins knobs; a recipe without terms is not trained.

    `online`: which views pass through the network that learns (`records.Config`); where both do, a
    paper may say whether in one pass. `network` and `twin` are settings that the row decides,
    whatever a scale or a paper says; `twin` None: it has none. `queue`: keys are kept; `crops`: it
    sees local crops too. `init`: the recipe whose encoder it starts from.
    """

    summary: str
    terms: tuple[TermRow, ...] = ()
    fixed: Mapping[str, Value] = field(default_factory=dict)
    online: Sees = "together"
    network: Mapping[str, str | bool] = field(default_factory=dict)
    twin: Mapping[str, str | bool] | None = None
    queue: bool = False
    crops: bool = False
    init: str | None = None


def _in_batch(summary: str, *steps: str, init: str | None = None, **fixed: Value) -> Recipe:
    return Recipe(summary, (TermRow("in_batch", steps),), fixed, init=init)


def _moco(summary: str, *steps: str, head: str = "mlp", **fixed: Value) -> Recipe:
    return Recipe(
        summary, (TermRow("queued", steps),), fixed, online="first",
        network={"head": head}, twin={"sees": "second"}, queue=True,
    )  # fmt: skip


def _psm(summary: str, soft: bool, raw: bool) -> Recipe:
    group = TermRow("neighbour_group", ("accept",), symmetric=True, fixed={"raw": False})
    single = TermRow("instance", ("accept",), symmetric=True, defaults={"raw": raw})
    return Recipe(
        summary, (group, single), {"soft": soft}, online="apart",
        network={"predictor": True, "head_norm": True, "head_out_norm": True},
        twin={"sees": "apart"}, queue=True,
    )  # fmt: skip


RECIPES = {
    "simclr": _in_batch("two views against the batch (Chen et al. 2020)"),
    "dcl": _in_batch("debiased negatives (Chuang et al. 2020)", "debias"),
    "hcl": _in_batch("hard, debiased negatives (Robinson et al. 2021)", "harden", "debias"),
    "sscl_synthesis": _in_batch(
        "mixed hard negatives added (Dong et al. 2024)", "mix_pairs", start=0
    ),
    "sscl_synthesis_debias": _in_batch(
        "mixed hard negatives, debiased (Dong et al. 2024)", "mix_pairs", "debias", start=0
    ),
    "sscl": _in_batch(
        "mixed, hard, debiased negatives (Dong et al. 2024)",
        "mix_pairs", "harden", "debias", start=0,
    ),
    "sscl_released": _in_batch(
        "as the authors' file runs: hard negatives repeated, not mixed",
        "mix_pairs", "harden", "debias", mix=False, start=0,
    ),
    "moco_v1": _moco("a queue of keys, one linear layer as head (He et al. 2020)", head="linear"),
    "moco_v2": _moco("a queue of keys (Chen et al. 2020, MoCo v2)"),
    "mochi": _moco("hard mixes in the queue (Kalantidis et al. 2020)", "mix_pairs", "mix_query"),
    "moco_sscl_synthesis": _moco(
        "mixed hard negatives of the queue (Dong et al. 2024)", "mix_pairs", start=0
    ),
    "moco_sscl_sampling": _moco(
        "hard, debiased negatives of the queue (Dong et al. 2024)", "harden", "debias"
    ),
    "moco_sscl": _moco(
        "mixed, hard, debiased negatives of the queue (Dong et al. 2024)",
        "mix_pairs", "harden", "debias", start=0,
    ),
    "byol": Recipe(
        "predict the twin's projection (Grill et al. 2020)",
        (TermRow(None, loss="regress", symmetric=True),), online="apart",
        network={"predictor": True}, twin={"sees": "apart"},
    ),
    "dino": Recipe(
        "multi-crop distillation from the twin, which is kept (Caron et al. 2021)",
        (TermRow(None, loss="distil"),),
        network={"head": "prototypes"}, twin={"sees": "together", "kept": True}, crops=True,
    ),
    "simclr_dino": _in_batch("SimCLR from a DINO encoder (Liu 2024)", init="dino"),
    "simclr_enlarge": _in_batch("low similarities lowered (Liu 2024)", "enlarge"),
    "simclr_dino_enlarge": _in_batch(
        "from a DINO encoder, low similarities lowered (Liu 2024)", "enlarge", init="dino"
    ),
    "psm_released": _psm(
        "mined positives, as the authors' file runs (Dong et al. 2023)", soft=False, raw=True
    ),
    "psm_soft": _psm("mined positives, softly weighed (Dong et al. 2023)", soft=True, raw=False),
    "untrained": Recipe("a random encoder"),
    "raw_pixels": Recipe(
        "no encoder: the pixels themselves", network={"arch": "pixels"}
    ),
    "supervised": Recipe(
        "the same network and budget, with labels", (TermRow(None, loss="classify"),)
    ),
}  # fmt: skip

UNTRAINED, SUPERVISED = "untrained", "supervised"
CONTROLS = ("raw_pixels", UNTRAINED, SUPERVISED)
"""The recipes that every other is shown beside, in that order."""


def recipe(name: str) -> Recipe:
    """The row of a recipe. Raises ReclaimError for one that is unknown."""
    if name in RECIPES:
        return RECIPES[name]
    hint = did_you_mean(name, RECIPES)
    raise ReclaimError(f"unknown recipe {name!r}: {hint}known: {', '.join(RECIPES)}")


def knobs_of(name: str) -> tuple[str, ...]:
    """The knobs a recipe leaves open, in the order its parts use them."""
    row = recipe(name)
    used = (
        knob
        for term in row.terms
        for part in term.parts
        for knob in PART_KNOBS.get(part, ())
        if knob not in term.fixed and knob not in row.fixed
    )
    return tuple(dict.fromkeys(used))


def resolve_terms(
    name: str, batch: int, knobs: Mapping[str, Value], queue: int | None = None
) -> tuple[Term, ...]:
    """A recipe's terms with every knob filled in: pinned by the row, else given, else its default.

    Raises ReclaimError for a value out of range, or more hard negatives, mixes or mined positives
    than there are: 2B - 2 negatives in a batch of B images, or as many as the queue keeps.
    """
    row = recipe(name)
    there = (
        (f"a queue of {queue} keys", queue)
        if row.queue and queue
        else (f"a batch of {batch} images has {2 * batch - 2} negatives", 2 * batch - 2)
    )

    def value(term: TermRow, knob: str) -> Value:
        default = KNOBS[knob].default_for(batch, queue if row.queue else None)
        chosen = {knob: default, **term.defaults, **knobs, **row.fixed, **term.fixed}[knob]
        if not KNOBS[knob].fits(chosen):
            raise ReclaimError(
                f"{knob} = {chosen} for recipe {name!r} ({KNOBS[knob].meaning}): "
                f"give a value in {KNOBS[knob].range}"
            )
        if knob in COUNTS and chosen > there[1]:
            raise ReclaimError(
                f"{knob} = {chosen} for recipe {name!r}: {there[0]}; take {knob} at most "
                f"{there[1]}, or a larger one"
            )
        return chosen

    def chosen(term: TermRow, part: str | None) -> dict[str, Value]:
        return {knob: value(term, knob) for knob in PART_KNOBS.get(part or "", ())}

    return tuple(
        Term(
            pairing=term.pairing,
            pairing_knobs=chosen(term, term.pairing),
            steps=tuple(Step(name=step, knobs=chosen(term, step)) for step in term.steps),
            loss=term.loss,
            loss_knobs=chosen(term, term.loss),
            weight=term.weight,
            symmetric=term.symmetric,
        )
        for term in row.terms
    )
