"""Fixed subsets of an image set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reclaim.records import ReclaimError


def stratified(
    labels: NDArray[np.int64], count: int, seed: int, part: int = 0
) -> NDArray[np.int64]:
    """Sorted indices (count) of a random subset with equally many images of every class.

    Class counts differ by at most one, except where a class has too few images: then the others
    fill up. The subset of a smaller count lies within that of a larger one of the same seed; the
    next `count` images are `part` 1, and so on.
    Raises ReclaimError if there are fewer than `count` labels for each of these parts.
    """
    if not 0 < count * (part + 1) <= len(labels):
        raise ReclaimError(
            f"a subset of {count} images, part {part}: give a count from 1 to "
            f"{len(labels) // (part + 1)}"
        )
    # Only plain uniform draws: numpy promises least change for these between versions.
    draw = np.random.default_rng(seed).random(len(labels))
    order = np.lexsort((draw, labels))
    _, first, size = np.unique(labels[order], return_index=True, return_counts=True)
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(first, size)
    return np.sort(np.lexsort((draw, rank))[count * part :][:count])
