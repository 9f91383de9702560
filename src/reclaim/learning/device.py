"""Where the arithmetic runs, in what precision, and where random numbers come from."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager

import torch
from torch import Tensor


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def use_one_thread() -> None:
    """One CPU thread for this process: runs go side by side, and bits do not depend on cores."""
    torch.set_num_threads(1)


def make_deterministic() -> None:
    """Deterministic kernels; on the CPU one without raises, on CUDA torch warns and goes on."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    torch.backends.cudnn.benchmark = False


def gains_from_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of matrix products: `auto` is bfloat16 where the device gains from it."""
    if precision == "auto":
        return torch.bfloat16 if gains_from_bfloat16(device) else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}[
        precision
    ]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Autocast to bfloat16; nothing for the full precisions."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16)


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device, without waiting for it: CUDA's own copies need pinned memory."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def generator(device: torch.device | str, *key: int | str) -> torch.Generator:
    """A generator that is a function of its key, such as (seed, epoch, step, purpose).

    Nothing random depends on how long a process lived: that is what makes resume exact.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "big") >> 1)
