"""One seed trained or measured again, in a folder apart from the results."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path

from reclaim.learning.evaluate import evaluate
from reclaim.learning.train import pretrain
from reclaim.records import (
    EvaluateJob,
    EvaluationManifest,
    PretrainJob,
    ReclaimError,
    RunManifest,
)
from reclaim.registry.jobs import init_path, run_folder


def train_again(
    job: PretrainJob, results: Path, apart: Path, data: Path, device: str
) -> RunManifest | ReclaimError:
    """The run, or that of an earlier call; if it starts from another, from that of the results."""
    try:
        with _log(job.id, apart).open("w") as log, redirect_stderr(log):
            return pretrain(job, apart, data, device, init_path(results, job))
    except ReclaimError as error:
        return error


def measure_again(
    pretrained: PretrainJob, job: EvaluateJob, results: Path, apart: Path, data: Path, device: str
) -> Mapping[str, EvaluationManifest] | ReclaimError:
    """The evaluations of a finished run of the results."""
    here, there = (run_folder(place, job.recipe, job.id) for place in (results, apart))
    shutil.copytree(here, there, dirs_exist_ok=True)
    try:
        with _log(f"{job.id}-evaluate", apart).open("w") as log, redirect_stderr(log):
            return evaluate(pretrained, job, apart, data, device)
    except ReclaimError as error:
        return error


def _log(name: str, apart: Path) -> Path:
    path = apart / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
