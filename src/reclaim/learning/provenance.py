"""Where a run was made and how fast: never hashed, for a reader's eyes."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

SWITCHES = ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "NVIDIA_TF32_OVERRIDE")


def this_machine(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """The kind of machine that decides bits: device, precision and torch."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    )
    precision = str(dtype).removeprefix("torch.")
    return {
        "device": f"{device.type}: {name}",
        "precision": f"{precision}, convolutions in TF32" if _tf32(device, dtype) else precision,
        "torch": torch.__version__,
    }


def arithmetic(device: torch.device, dtype: torch.dtype) -> str:
    """All that is known to decide bits, in a line: what two processes of one training must share.

    Beside the kind of machine, what the CPU can do, as oneDNN picks its kernels by that, and the
    libraries' own switches.
    """
    abilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    able = sorted(name for name, has in abilities.items() if has is True)
    switched = [f"{name}={os.environ[name]}" for name in SWITCHES if name in os.environ]
    return ", ".join([*this_machine(device, dtype).values(), *able, *switched])


def _tf32(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether cuDNN rounds what it convolves to ten bits: its default from Ampere on."""
    if device.type != "cuda" or dtype is not torch.float32:
        return False
    return torch.backends.cudnn.allow_tf32 and torch.cuda.get_device_capability(device) >= (8, 0)


def provenance(
    device: torch.device, dtype: torch.dtype, views: int, seconds: float
) -> dict[str, Any]:
    """What is kept of a training that saw so many views."""
    return {
        **this_machine(device, dtype),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 3),
        "views_per_second": round(views / seconds, 1),
    }
