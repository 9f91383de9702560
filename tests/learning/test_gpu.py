"""GPUs: which one a run takes and what is said of a full one; with a GPU, also the arithmetic."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from reclaim.learning import gpu, train
from reclaim.learning.device import gains_from_bfloat16, make_deterministic, move
from reclaim.learning.gpu import Gpu, gpu_for, memory_faults, placed, roomiest, taken
from reclaim.learning.images import load_images
from reclaim.learning.provenance import this_machine
from reclaim.records import PretrainJob, ReclaimError

TWO = [Gpu(0, "GPU-a", 24_000), Gpu(1, "GPU-b", 12_000)]
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"
)


# --- which GPU -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "mib", "expected"),
    [
        ({}, 5_000, "GPU-a"),
        ({"GPU-a": 5_000}, 5_000, "GPU-a"),  # 19,000 are left there
        ({"GPU-a": 13_000}, 5_000, "GPU-b"),
        ({"GPU-a": 20_000, "GPU-b": 8_000}, 4_000, "GPU-a"),
        ({"GPU-a": 20_000, "GPU-b": 8_000}, 5_000, None),
        ({}, 99_000, "GPU-a"),  # an estimate may be too high: alone it may try
        ({"GPU-a": 1, "GPU-b": 1}, 99_000, None),
    ],
)
def test_the_roomiest_gpu_is_taken(held: dict[str, int], mib: int, expected: str | None) -> None:
    found = roomiest(TWO, held, mib)
    assert (found and found.uuid) == expected


def test_runs_go_side_by_side_as_far_as_there_is_room(tmp_path: Path) -> None:
    with placed("r1", 8_000, TWO, tmp_path) as first, placed("r2", 8_000, TWO, tmp_path) as second:
        assert (first.uuid, taken(tmp_path)) == ("GPU-a", {"GPU-a": 16_000})
        assert second.uuid == "GPU-a"
        with placed("r3", 9_000, TWO, tmp_path) as third:
            assert third.uuid == "GPU-b"
    assert taken(tmp_path) == {}


def test_a_run_waits_for_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def second() -> None:
        with placed("r2", 20_000, TWO[:1], tmp_path, wait=0.01):
            order.append("second")

    with placed("r1", 20_000, TWO[:1], tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.5)
        order.append("first")
    thread.join(timeout=30)
    assert order == ["first", "second"]
    assert capsys.readouterr().err == "r2: waits for 20,000 MiB on a GPU\n"


def test_the_place_of_a_killed_run_is_free(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; from reclaim.learning.gpu import Gpu, placed\n"
        f"with placed('r', 20000, [Gpu(0, 'GPU-a', 24000)], Path({str(tmp_path)!r})):\n"
        "    print('placed', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"placed\n"
        assert taken(tmp_path) == {"GPU-a": 20_000}
        process.kill()
        process.wait()
    assert taken(tmp_path) == {}


def test_a_run_takes_the_gpu_of_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = [
        SimpleNamespace(uuid=name, total_memory=2**size) for name, size in (("a", 34), ("b", 35))
    ]
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(facts))
    monkeypatch.setattr(torch.cuda, "get_device_properties", facts.__getitem__)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(gpu, "PLACES", tmp_path)
    with gpu_for("r1", 20_000), gpu_for("r2", 20_000):
        assert chosen == [1, 0]
    with gpu_for("r3", 20_000, "cpu"):
        assert chosen == [1, 0]


def test_without_a_gpu_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "placed", None)
    with gpu_for("r", 10):
        pass


# --- what is said --------------------------------------------------------------------------------

FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.68 GiB of "
    "which 1.20 GiB is free. Including non-PyTorch memory, this process has 21 GiB in use."
)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            torch.OutOfMemoryError(FULL),
            r"\(Tried to allocate 2.00 GiB. GPU 0 .* 1.20 GiB is free\)",
        ),
        (RuntimeError("CUDA error: out of memory\nCompile with ..."), "out of GPU memory; let"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "out of GPU memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "out of GPU memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "out of memory; free"),
        (MemoryError(), "out of memory; free"),
    ],
)
def test_a_full_memory_is_one_line_for_people(error: Exception, words: str) -> None:
    with pytest.raises(ReclaimError, match=words) as fault, memory_faults("r"):
        raise error
    assert str(fault.value).startswith("run r: ")
    assert "\n" not in str(fault.value)


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="something else"), memory_faults("r"):
        raise RuntimeError("something else")


def test_on_the_cpu_a_tensor_is_not_moved() -> None:
    tensor = torch.ones(2)
    assert move(tensor, torch.device("cpu")) is tensor


@pytest.mark.parametrize(
    ("generation", "allowed", "dtype", "said"),
    [
        ((8, 6), True, torch.float32, "float32, convolutions in TF32"),
        ((8, 6), False, torch.float32, "float32"),
        ((7, 5), True, torch.float32, "float32"),
        ((8, 6), True, torch.bfloat16, "bfloat16"),
    ],
)
def test_a_gpu_that_rounds_what_it_convolves_says_so(
    generation: tuple[int, int], allowed: bool, dtype: torch.dtype, said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: generation)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    found = this_machine(torch.device("cuda"), dtype)
    assert (found["device"], found["precision"]) == ("cuda: a GPU", said)
    assert "TF32" not in this_machine(torch.device("cpu"), dtype)["precision"]


# --- with a GPU ----------------------------------------------------------------------------------


POOLED = {"network__arch": "resnet18", "network__stem": "cifar_maxpool"}  # as at the papers' scale


def trained(job: PretrainJob, data: Path, steps: int) -> train.Training:
    """A training on the GPU after some steps."""
    make_deterministic()
    device = torch.device("cuda")
    training = train.start(job, load_images(job.config.dataset, device, data), device)
    order = train.epoch_order(training)
    for training.step in range(steps):
        training.loss_sum += train.train_step(training, order)
    return training


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("network", [{}, POOLED], ids=["narrow", "pooled"])
def test_a_gpu_gives_the_same_bits_twice(
    network: dict[str, str], precision: str, data: Path, tiny_job: Callable[..., PretrainJob]
) -> None:
    job = tiny_job("sscl", precision=precision, **network)
    first, second = (train.encoder_weights(trained(job, data, 4)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@needs_gpu
def test_a_gpu_learns_what_the_cpu_does(data: Path, tiny_job: Callable[..., PretrainJob]) -> None:
    job = tiny_job("sscl", precision="float64")
    on_gpu = trained(job, data, 1).loss_sum.item()
    device = torch.device("cpu")
    training = train.start(job, load_images(job.config.dataset, device, data), device)
    views = train.train_step(training, train.epoch_order(training)).item()
    assert on_gpu == pytest.approx(views, rel=0.2)  # a GPU's own draws mix other pairs


@needs_gpu
def test_a_gpu_run_uses_its_tensor_cores_layout(
    data: Path, tiny_job: Callable[..., PretrainJob]
) -> None:
    training = trained(tiny_job("simclr", precision="auto"), data, 1)
    weight = training.model.encoder.get_parameter("conv1.weight")
    assert weight.device.type == "cuda"
    assert weight.is_contiguous(memory_format=torch.channels_last)
    bfloat16 = gains_from_bfloat16(training.device)
    assert training.dtype is (torch.bfloat16 if bfloat16 else torch.float32)


@needs_gpu
def test_a_full_gpu_says_so() -> None:
    with pytest.raises(ReclaimError, match="out of GPU memory"), memory_faults("r"):
        torch.empty(2**46, dtype=torch.uint8, device="cuda")
