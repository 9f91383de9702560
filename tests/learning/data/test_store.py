"""`load` maps what was stored, and says what to do where it is not whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reclaim.learning.data import fetch_data, load
from reclaim.learning.data.formats import Splits
from reclaim.learning.data.store import store
from reclaim.records import DataManifest, ReclaimError, read, stamp, write
from reclaim.registry.datasets import DATASETS

Publish = Callable[..., Path]
REMEDY = "run `reclaim fetch data cifar10`"


@pytest.fixture
def stored(official: SimpleNamespace, publish: Publish, tmp_path: Path) -> Path:
    """A root with a small CIFAR-10."""
    publish(official.cifar("cifar10"))
    fetch_data("cifar10", tmp_path)
    return tmp_path


def test_arrays_are_mapped_not_read(stored: Path) -> None:
    for array in vars(load("cifar10", stored)).values():
        assert isinstance(array, np.memmap) and not array.flags.writeable


def test_a_set_that_was_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(ReclaimError, match=REMEDY):
        load("cifar10", tmp_path)
    with pytest.raises(ReclaimError, match="'cifar' is not known"):
        load("cifar", tmp_path)


def restamp(folder: Path, file: str) -> None:
    manifest = read(folder / "manifest.json", DataManifest, "")
    files = {**manifest.files, file: stamp(folder / file)}
    write(folder / "manifest.json", manifest.model_copy(update={"files": files}))


@pytest.mark.parametrize(
    "damage", ["cut", "longer", "gone", "other name", "not an array", "objects"]
)
def test_a_set_that_is_not_whole(damage: str, stored: Path) -> None:
    folder, file = stored / "cifar10", "test_labels.npy"
    match damage:
        case "cut":
            (folder / file).write_bytes((folder / file).read_bytes()[:-1])
        case "longer":
            (folder / file).write_bytes((folder / file).read_bytes() + b"x")
        case "gone":
            (folder / file).unlink()
        case "other name":
            manifest = read(folder / "manifest.json", DataManifest, "")
            write(folder / "manifest.json", manifest.model_copy(update={"name": "cifar100"}))
        case "not an array":
            (folder / file).write_bytes(b"\x93NUMPY")
            restamp(folder, file)
        case "objects":
            np.save(folder / file, np.array([{}] * 50), allow_pickle=True)
            restamp(folder, file)
    with pytest.raises(ReclaimError, match=REMEDY):
        load("cifar10", stored)


@pytest.mark.parametrize("wrong", [np.zeros(49, np.int64), np.zeros(50, np.int32)])
def test_an_array_of_another_type_or_shape(wrong: NDArray[Any], stored: Path) -> None:
    np.save(stored / "cifar10/test_labels.npy", wrong)
    restamp(stored / "cifar10", "test_labels.npy")
    with pytest.raises(ReclaimError, match=r"expected int64 \(50,\)"):
        load("cifar10", stored)


def test_a_split_with_too_few_images(stored: Path) -> None:
    facts = DATASETS["cifar10"]
    before = {path: path.read_bytes() for path in stored.rglob("*.*")}
    few = [(np.zeros(facts.shape(9), np.uint8), np.zeros(9, np.int64))] * 11
    with pytest.raises(ReclaimError, match="99 train images, expected 100"):
        store(facts, Splits(train=iter(few), test=iter(few)), stored)
    assert {path: path.read_bytes() for path in stored.rglob("*.*")} == before


def zeros(root: Path) -> Path:
    """Store a set of the same name and other images."""
    facts = DATASETS["cifar10"]
    train, test = (
        [(np.zeros(facts.shape(n), np.uint8), np.zeros(n, np.int64))]
        for n in (facts.n_train, facts.n_test)
    )
    return store(facts, Splits(train=iter(train), test=iter(test)), root)


@pytest.mark.parametrize("moves", range(6))
def test_a_crash_between_two_moves_leaves_nothing_that_is_taken(
    stored: Path, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a set of other images: the old one is read, or the new one, or neither."""
    old = load("cifar10", stored).train_images.copy()
    move, done = Path.replace, list[str]()

    def cut(source: Path, target: Path) -> Path:
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(target.name)
        return move(source, target)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Path, "replace", cut)
        zeros(stored)
    if moves in (0, 5):
        found = load("cifar10", stored).train_images
        assert np.array_equal(found, old if moves == 0 else np.zeros_like(old))
    else:
        assert "manifest.json" not in done
        with pytest.raises(ReclaimError, match=REMEDY):
            load("cifar10", stored)
    assert not list(stored.glob(".*.new"))
    fetch_data("cifar10", stored)
    assert load("cifar10", stored).train_images.shape == old.shape


def test_a_disk_that_is_full_at_the_manifest_changes_nothing(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in stored.rglob("*.*")}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ReclaimError, match="free some space"):
        zeros(stored)
    assert {path: path.read_bytes() for path in stored.rglob("*.*")} == before
