"""Did a reproduction reproduce? Two bundles of one plan, run by run.

A run that one of them does not have is no difference. It is missing where the committed plan of
the scale asks for it: what is incomplete reproduces nothing. Sweeps and added seeds are asked for
apart, so without them there is less to compare, and no more than that.

What may differ without a cause that anybody could name, the drift of one run between two machines
or libraries, was measured: `workflow/drift.yaml` holds it with the command that made it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf, isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from reclaim.records import (
    Bundle,
    EvaluationManifest,
    ReclaimError,
    RunManifest,
    first_fault,
)
from reclaim.registry.bundle import ADDED, check, manifests
from reclaim.registry.certify import CERTIFICATE, LEARNED
from reclaim.registry.claims.text import read_yaml
from reclaim.registry.jobs import committed_plan, evaluation_folder

if TYPE_CHECKING:
    import pandas as pd

DRIFT = Path("workflow/drift.yaml")
REMEDY = "get the file again"
Word = Literal["same", "same within the drift budget", "different", "missing", "not compared"]
WORDS: tuple[Word, ...] = get_args(Word)
FAULTS: tuple[Word, ...] = ("different", "missing")
ABSENT: tuple[Word, ...] = ("missing", "not compared")
Budget = Mapping[str, Mapping[str, float]]
BUDGETS: TypeAdapter[dict[str, dict[str, dict[str, float]]]] = TypeAdapter(
    dict[str, dict[str, dict[str, float]]]
)


@dataclass(frozen=True)
class Compared:
    """How a run of two bundles compares: its path, a word, and what lies behind the word."""

    run: str
    word: Word
    why: str


@dataclass(frozen=True)
class Measured:
    """A run and its evaluations by the names of their folders, as one bundle holds them."""

    folder: Path
    manifest: RunManifest
    evaluations: Mapping[str, EvaluationManifest]

    def folder_of(self, protocol: str) -> Path:
        """Where an evaluation lies."""
        return evaluation_folder(self.folder, self.manifest.recipe, self.manifest.id, protocol)


def compare(first: Path, second: Path, drift: Path = DRIFT) -> list[Compared]:
    """Every run of either bundle, in order of their paths.

    Raises ReclaimError for bundles of two scales or without a common run, one that is not whole,
    a faulty budget, or a run in one of them alone where no plan says whether it is asked for.
    """
    bundles = _whole(first), _whole(second)
    if bundles[0].scale != bundles[1].scale:
        raise ReclaimError(
            f"{first} is of scale {bundles[0].scale}, {second} of {bundles[1].scale}: only runs of "
            "one plan compare"
        )
    budget = budget_of(bundles[0].scale, drift)
    ours, theirs = _runs(first), _runs(second)
    if not ours.keys() & theirs.keys():
        raise ReclaimError(
            f"{first} and {second}: no run is in both; bundles compare that one plan asked for"
        )
    alone = ours.keys() ^ theirs.keys()
    asked = _asked_for(bundles[0].scale) if alone else set[str]()
    return [
        _alone(place, place in ours, asked)
        if place in alone
        else Compared(place, *_judged(ours[place], theirs[place], budget))
        for place in sorted(ours | theirs)
    ]


def lines(found: Iterable[Compared]) -> Iterator[str]:
    """A line for each run of both bundles, one for all that one of them lacks, and the counts."""
    counts = Counter[Word]()
    absent: dict[tuple[Word, str], list[str]] = {}
    for pair in found:
        counts[pair.word] += 1
        if pair.word in ABSENT:
            absent.setdefault((pair.word, pair.why), []).append(pair.run)
        else:
            yield f"{pair.word}  {pair.run}: {pair.why}"
    for (word, why), (run, *others) in absent.items():
        yield f"{word}  {run}{f' and {len(others)} more' if others else ''}: {why}"
    yield ", ".join(f"{counts[word]} {word}" for word in WORDS)


def _asked_for(scale: str) -> set[str]:
    """The runs that the committed plan of a scale asks for, without its sweeps and added seeds."""
    return {f"{run.recipe}/{run.id}" for run in committed_plan(scale).runs}


def _alone(place: str, in_first: bool, asked: Collection[str]) -> Compared:
    where = f"only in the {'first' if in_first else 'second'}"
    if place in asked:
        return Compared(place, "missing", f"{where}, and the plan asks for it")
    return Compared(place, "not compared", f"{where}, as sweeps, added seeds or other plans are")


def budget_of(scale: str, drift: Path = DRIFT) -> Budget:
    """The largest difference that drift made in each metric, by kind; empty if not measured.

    Raises ReclaimError for a file that is not a table of numbers.
    """
    if not drift.exists():
        return {}
    value = read_yaml(drift).value
    try:
        return BUDGETS.validate_python(value["final"], strict=False).get(scale, {})
    except (KeyError, TypeError) as error:
        raise ReclaimError(f"{drift}: final is missing; make the file anew") from error
    except ValidationError as error:
        raise ReclaimError(f"{drift}: {first_fault(error)}; make the file anew") from error


def _whole(folder: Path) -> Bundle:
    """A bundle all of whose files are as they were; what lies beside them is not compared."""
    bundle, found = check(folder)
    faults = [fault for fault in found if fault.what != ADDED]
    if faults:
        raise ReclaimError(
            f"{folder / faults[0].path}: {faults[0].what}; `reclaim verify {folder}` names all "
            f"{len(faults)} faults"
        )
    return bundle


def _runs(folder: Path) -> dict[str, Measured]:
    """The runs of a whole bundle by recipe and id."""
    runs, measured = manifests(folder)
    evaluations: dict[str, dict[str, EvaluationManifest]] = {}
    for found in measured.values():
        evaluations.setdefault(f"{found.recipe}/{found.run}", {})[found.protocol] = found
    return {
        place: Measured(folder, run, evaluations[place])
        for run in runs.values()
        for place in [f"{run.recipe}/{run.id}"]
    }


def _judged(ours: Measured, theirs: Measured, budget: Budget) -> tuple[Word, str]:
    # A cause that has a name: the budget is for what has none.
    if ours.manifest.data != theirs.manifest.data:
        return "different", "learned from other images"
    if alone := sorted(set(ours.evaluations) ^ set(theirs.evaluations)):
        return "different", f"measured by {alone[0]} in one of them alone"
    gaps = sorted(_gaps(ours, theirs, budget), key=lambda gap: -gap.share)
    if gaps:
        beyond = gaps[0].share > 1
        return "different" if beyond else "same within the drift budget", str(gaps[0])
    if _same_bits(ours, theirs):
        return "same", "bit for bit"
    return "same within the drift budget", "other bits, and every metric the same"


@dataclass(frozen=True)
class Gap:
    """A metric that differs between two evaluations; `budget` is 0 where no drift was measured."""

    protocol: str
    metric: str
    first: float
    second: float
    budget: float

    @property
    def share(self) -> float:
        """The difference as a multiple of the budget, without the rounding of subtraction."""
        return round(abs(self.first - self.second) / self.budget, 9) if self.budget else inf

    def __str__(self) -> str:
        allowed = f"drift makes {self.budget:.4g}" if self.budget else "no drift was measured"
        return (
            f"{self.protocol} {self.metric} {self.first:.4g} and {self.second:.4g}, "
            f"{abs(self.first - self.second):.4g} apart; {allowed}"
        )


def _gaps(ours: Measured, theirs: Measured, budget: Budget) -> Iterator[Gap]:
    """The metrics that differ; one that is missing differs from all numbers.

    What another reading changes of a kind of protocol drifts as that kind does.
    """
    for name, evaluation in ours.evaluations.items():
        first, second = evaluation.metrics, theirs.evaluations[name].metrics
        for metric in sorted(set(first) | set(second)):
            pair = first.get(metric, nan), second.get(metric, nan)
            if pair[0] != pair[1]:
                drift = budget.get(name.partition("-")[0], {}).get(metric, 0.0)
                allowed = 0.0 if isnan(sum(pair)) else drift
                yield Gap(name, metric, *pair, allowed)


def _same_bits(ours: Measured, theirs: Measured) -> bool:
    """Whether encoders, curve and per-image predictions are the same."""
    learned = [[side.manifest.files.get(name) for name in LEARNED] for side in (ours, theirs)]
    return learned[0] == learned[1] and all(
        _same_predictions(ours, theirs, protocol) for protocol in ours.evaluations
    )


def _same_predictions(ours: Measured, theirs: Measured, protocol: str) -> bool:
    """Whether the tables are the same; another version of the library may write other bytes.

    That a change of code was certified on one side is no difference.
    """
    first, second = (
        {
            name: file
            for name, file in side.evaluations[protocol].files.items()
            if not name.startswith(CERTIFICATE)
        }
        for side in (ours, theirs)
    )
    if first == second:
        return True
    if set(first) != set(second):
        return False
    return all(
        _predictions(ours.folder_of(protocol) / name).equals(
            _predictions(theirs.folder_of(protocol) / name)
        )
        for name in first
    )


def _predictions(path: Path) -> pd.DataFrame:
    """A table of predictions. Raises ReclaimError for a file that is none."""
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError, TypeError, LookupError, NotImplementedError) as error:
        cause = str(error).strip().partition("\n")[0]
        raise ReclaimError(f"{path}: not readable as predictions ({cause}); {REMEDY}") from error
