"""The images of a run as tensors on its device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reclaim.learning.data import load, stratified
from reclaim.records import Dataset


@dataclass(frozen=True)
class ImageSet:
    """train, test: uint8 (N, C, H, W); train_labels, test_labels: int64 (N,)."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load_images(dataset: Dataset, device: torch.device, root: Path) -> ImageSet:
    """The stored images, cut down to the dataset's subset.

    Raises ReclaimError if the data are not there or do not hold what their manifest says.
    """
    stored = load(dataset.name, root)
    chosen = np.arange(len(stored.train_labels))
    test_images, test_labels = stored.test_images, stored.test_labels
    if dataset.subset is not None:
        chosen = stratified(stored.train_labels, dataset.subset, dataset.subset_seed, dataset.part)
        if dataset.held_out:
            rest = np.setdiff1d(np.arange(len(stored.train_labels)), chosen)
            test_images, test_labels = stored.train_images[rest], stored.train_labels[rest]
    return ImageSet(
        _images(stored.train_images[chosen], device),
        _labels(stored.train_labels[chosen], device),
        _images(test_images, device),
        _labels(test_labels, device),
    )


def _images(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(array)).permute(0, 3, 1, 2).contiguous().to(device)


def _labels(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(array)).to(device)
