"""One seed trained or measured again, in a folder apart from the results."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path

from reclaim.learning.device import pick_device, resolve_precision
from reclaim.learning.evaluate import evaluate
from reclaim.learning.gpu import gpu_for
from reclaim.learning.provenance import this_machine
from reclaim.learning.train import pretrain
from reclaim.records import (
    EvaluateJob,
    EvaluationManifest,
    PretrainJob,
    ReclaimError,
    RunManifest,
    canonical,
    write_bytes,
    write_text,
)
from reclaim.registry.jobs import (
    PROVENANCE,
    check_unedited,
    drop_checkpoints,
    evaluation_folder,
    init_path,
    is_fetched,
    run_folder,
)


def train_again(
    job: PretrainJob, mib: int, results: Path, apart: Path, data: Path, device: str
) -> RunManifest | ReclaimError:
    """Train a run apart, from the encoder of the results if it starts from one.

    The run of an earlier call is taken as it is. `mib` of a GPU are held meanwhile; an error is
    returned, so that the witnesses beside this one go on.
    """
    try:
        with (
            _log(job.id, apart).open("w") as log,
            redirect_stderr(log),
            gpu_for(job.id, mib, device),
        ):
            check_unedited(job)
            return pretrain(job, apart, data, device, init_path(results, job))
    except ReclaimError as error:
        return error


def measure_again(
    pretrained: PretrainJob,
    job: EvaluateJob,
    mib: int,
    results: Path,
    apart: Path,
    data: Path,
    device: str,
) -> Mapping[str, EvaluationManifest] | ReclaimError:
    """Measure a copy of a finished run of the results; what an earlier call measured here is kept.

    `mib` of a GPU are held meanwhile; an error is returned.
    """
    try:
        with _log(f"{job.id}-evaluate", apart).open("w") as log, redirect_stderr(log):
            check_unedited(job)
            _copy_run(pretrained, results, apart)
            with gpu_for(job.id, mib, device):
                where = pick_device(device)
                dtype = resolve_precision(pretrained.config.precision, where)
                _drop_of_elsewhere(job, apart, this_machine(where, dtype))
                return evaluate(pretrained, job, apart, data, device)
    except ReclaimError as error:
        return error


def _copy_run(job: PretrainJob, results: Path, apart: Path) -> None:
    """Copy a run, and the encoder it starts from: `finished_run` looks at the one that is there.

    Another process may measure that one meanwhile: it sees the same bytes, and never half of them.
    """
    here, there = (run_folder(place, job.recipe, job.id) for place in (results, apart))
    for path in filter(Path.is_file, here.iterdir()):
        write_bytes(there / path.name, path.read_bytes())
    first, copy = init_path(results, job), init_path(apart, job)
    if first and copy and first.is_file() and not is_fetched(job.init or ""):
        write_bytes(copy, first.read_bytes())


def _drop_of_elsewhere(job: EvaluateJob, apart: Path, made: Mapping[str, str]) -> None:
    """Drop what an earlier call measured on another machine; note this one."""
    note = evaluation_folder(apart, job.recipe, job.id, PROVENANCE)
    text = canonical(dict(made)) + "\n"
    if note.is_file() and note.read_text(encoding="utf-8") == text:
        return
    if note.parent.is_dir():
        shutil.rmtree(note.parent)
    for protocol in job.protocols:
        drop_checkpoints(apart, f"{job.id}-{protocol}")
    write_text(note, text)


def _log(name: str, apart: Path) -> Path:
    path = apart / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
