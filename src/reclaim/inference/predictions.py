"""The predictions of each image, read when asked for and checked to be of the same images.

They decide nothing. From them come what a difference would be on new images, what two checkpoints
disagree about, and how far the seeds agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reclaim import records
from reclaim.inference.replication.differences import crossed, mcnemar_within
from reclaim.records import EvaluationManifest, PerImage, ReclaimError, Run, stamp
from reclaim.registry.jobs import evaluation_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RANKS = {"top1": 1, "top5": 5}  # right if the true label has at most this rank
REMEDY = "evaluate these runs again"


@dataclass(frozen=True)
class Answers:
    """Of one run: the true labels of n test images and the rank of each, in file order."""

    file: Path
    labels: NDArray[np.int16]
    ranks: NDArray[np.int16]


@dataclass(frozen=True)
class Predictions:
    """The prediction files below a scale's results, each read once; any of them may be absent."""

    results: Path
    kept: dict[tuple[str, str], Answers | None] = field(default_factory=dict)

    def of(self, run: Run, protocol: str) -> Answers | None:
        """A run's predictions; None where there is no file. Raises ReclaimError for a bad one."""
        key = run.id, protocol
        if key not in self.kept:
            folder = evaluation_folder(self.results, run.recipe, run.id, protocol)
            file = folder / "predictions.parquet"
            check_stamp(file, folder / "metrics.json")
            self.kept[key] = read(file) if file.is_file() else None
        return self.kept[key]

    def correct(
        self, runs: Mapping[int, Run], protocol: str, metric: str
    ) -> tuple[Answers, NDArray[np.bool_]] | None:
        """Which images the seeds of a config get right: (k, n), with the first seed's answers.

        None where a file is absent or the metric is no accuracy. Raises ReclaimError for seeds
        with other images, or in another order.
        """
        import numpy as np

        answers: list[Answers] = []
        for run in runs.values() if metric in RANKS else ():
            if (found := self.of(run, protocol)) is None:
                return None
            answers.append(found)
        if not answers:
            return None
        for other in answers[1:]:
            check_same_images(answers[0], other)
        return answers[0], np.stack([one.ranks <= RANKS[metric] for one in answers])

    def compare(
        self,
        first: tuple[Mapping[int, Run], str, str],
        second: tuple[Mapping[int, Run], str, str],
    ) -> PerImage | None:
        """Two configs by their shared seeds: (runs, protocol, metric) each; None without files.

        Raises ReclaimError for files of other images, or in another order.
        """
        seeds = sorted(first[0].keys() & second[0].keys())
        sides = [
            self.correct({seed: runs[seed] for seed in seeds}, protocol, metric)
            for runs, protocol, metric in (first, second)
        ]
        if not seeds or sides[0] is None or sides[1] is None:
            return None
        (answers, a), (others, b) = sides[0], sides[1]
        check_same_images(answers, others)
        whole, within = crossed(a, b), mcnemar_within(a[0], b[0])
        return PerImage(
            images=a.shape[1],
            interval=whole.interval if whole else None,
            p=whole.p if whole else None,
            discordant=(within.first_only, within.second_only),
            mcnemar_p=within.p,
        )


def read(file: Path) -> Answers:
    """Read a file of predictions. Raises ReclaimError naming file and row for what is no rank."""
    import pandas as pd

    try:
        table = pd.read_parquet(file, columns=["label", "rank"])
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        cause = str(error).strip().splitlines()[0]
        raise ReclaimError(f"{file}: not readable as predictions ({cause}); {REMEDY}") from error
    labels, ranks = (
        pd.to_numeric(table[name], errors="coerce").to_numpy() for name in ("label", "rank")
    )
    bad = ~((ranks >= 1) & (labels >= 0))
    if not len(labels) or bad.any():
        row = int(bad.argmax()) + 1 if len(labels) else 1
        raise ReclaimError(f"{file}: row {row}: no label and rank of an image; {REMEDY}")
    return Answers(file, labels, ranks)


def check_stamp(file: Path, manifest: Path) -> None:
    """Raise ReclaimError for predictions that are not those which their manifest was written of."""
    if not (file.is_file() and manifest.is_file()):
        return
    made = records.read(manifest, EvaluationManifest, REMEDY)
    if made.files.get(file.name) != stamp(file):
        raise ReclaimError(f"{file}: changed since {manifest.name} was written; {REMEDY}")


def check_same_images(first: Answers, second: Answers) -> None:
    """Raise ReclaimError naming file and row where two runs were not asked the same images."""
    shared = min(len(first.labels), len(second.labels))
    other = first.labels[:shared] != second.labels[:shared]
    if other.any():
        row = int(other.argmax())
        raise ReclaimError(
            f"{second.file}: row {row + 1}: an image of label {second.labels[row]}, in "
            f"{first.file} of label {first.labels[row]}: other images, or another order; {REMEDY}"
        )
    if len(first.labels) != len(second.labels):
        raise ReclaimError(
            f"{second.file}: row {shared + 1}: {len(second.labels)} images, in {first.file} "
            f"{len(first.labels)}; {REMEDY}"
        )
