"""GPUs shared by runs: which one a run takes, and what is said when its memory runs out.

Nothing here decides what a run learns.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from reclaim.records import ReclaimError

PLACES = Path(tempfile.gettempdir()) / f"reclaim-gpu-{os.getuid()}"
WAIT_SECONDS = 5.0
GPU_FAULTS = ("CUDA out of memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class Gpu:
    """A CUDA device that this process sees under `index`; `mib` is its whole memory."""

    index: int
    uuid: str
    mib: int


def visible_gpus() -> list[Gpu]:
    """The CUDA devices that CUDA_VISIBLE_DEVICES, a scheduler or the machine lets us see."""
    found = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        found.append(Gpu(index, str(facts.uuid), facts.total_memory >> 20))
    return found


@contextmanager
def gpu_for(run: str, mib: int, device: str = "auto") -> Iterator[None]:
    """Give a run that needs about so many MiB a GPU of its own, or one with room beside others.

    It becomes the current CUDA device; without a GPU, or on the CPU, nothing happens.
    """
    gpus = [] if device == "cpu" or not torch.cuda.is_available() else visible_gpus()
    if not gpus:
        yield
        return
    with placed(run, mib, gpus, PLACES) as gpu:
        torch.cuda.set_device(gpu.index)
        yield


@contextmanager
def placed(
    run: str, mib: int, gpus: Sequence[Gpu], folder: Path, wait: float = WAIT_SECONDS
) -> Iterator[Gpu]:
    """Hold a place of so many MiB on one of the GPUs; wait until there is room.

    A place is a locked file, which the system frees when its holder dies. Processes that are no
    runs are not seen.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = False
    while True:
        with FileLock(folder / "placing.lock"):
            gpu = roomiest(gpus, taken(folder), mib)
            if gpu is not None:
                place = FileLock(folder / f"{mib}_{gpu.uuid}_{os.getpid()}_{run}.place")
                place.acquire()
                break
        if not told:
            print(f"{run}: waits for {mib:,} MiB on a GPU", file=sys.stderr)
            told = True
        time.sleep(wait)
    try:
        yield gpu
    finally:
        Path(place.lock_file).unlink(missing_ok=True)
        place.release()


def roomiest(gpus: Sequence[Gpu], taken: Mapping[str, int], mib: int) -> Gpu | None:
    """The GPU with the most memory left, if so many MiB fit or nothing runs there; else None."""
    best = max(gpus, key=lambda gpu: gpu.mib - taken.get(gpu.uuid, 0))
    return best if best.uuid not in taken or best.mib - taken[best.uuid] >= mib else None


def taken(folder: Path) -> dict[str, int]:
    """MiB held by living runs, by the GPU's uuid; places whose holder died are cleared away."""
    held: dict[str, int] = {}
    for path in folder.glob("*.place"):
        mib, uuid, _ = path.stem.split("_", 2)
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
        except Timeout:
            held[uuid] = held.get(uuid, 0) + int(mib)
    return held


@contextmanager
def memory_faults(run: str) -> Iterator[None]:
    """Turn "out of memory", of either kind, into a message for people."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own errors are RuntimeErrors
        text = str(error)
        if any(words in text for words in GPU_FAULTS):
            detail = re.search(r"Tried to allocate.*? is free", text)
            raise ReclaimError(
                f"run {run}: out of GPU memory{f' ({detail[0]})' if detail else ''}; let fewer "
                "runs share a GPU (--resources gpu=1), take one with more memory than `reclaim "
                "plan` estimates, or take a smaller batch"
            ) from error
        if isinstance(error, MemoryError) or "can't allocate memory" in text:
            raise ReclaimError(
                f"run {run}: out of memory; free some, run fewer jobs at once (--cores), or take "
                "a smaller batch"
            ) from error
        raise
