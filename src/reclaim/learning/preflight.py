"""What is checked before long work starts."""

from __future__ import annotations

import torch

from reclaim.records import ReclaimError


def check_device(name: str) -> None:
    """Raises ReclaimError if CUDA is asked for and there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ReclaimError("--device cuda: torch finds no CUDA device; take --device cpu or auto")
