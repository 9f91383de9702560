"""The noise floor of one recipe: how much its accuracy varies from seed to seed, and must.

The test images are fixed; only the seed changes. Image i is right in a share p_i of all runs. If a
run's images erred independently of one another, the accuracy would vary with variance
Σ p_i (1 − p_i)/n², which is at most p(1 − p)/n, p the mean accuracy (Jensen). Accuracies and
standard deviations are in percentage points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from reclaim.inference.replication.estimates import LEVEL, mean_interval
from reclaim.records import Interval

Outcomes = NDArray[np.bool_] | NDArray[np.integer[Any]]


@dataclass(frozen=True)
class NoiseFloor:
    """Three answers to how much seeds alone move an accuracy, each under its own assumption."""

    ASSUMES: ClassVar[Mapping[str, str]] = {
        "run_sd": "measured; its interval takes the accuracies of runs as normal",
        "bound": "the most that is possible if a run's images err independently of one another",
        "plug_in": "if a run's images err independently, each as often as our seeds got it wrong",
    }
    seeds: int
    images: int
    run_sd: float | None
    interval: Interval | None
    bound: float
    plug_in: float | None


def noise_floor(
    accuracies: Sequence[float], images: int, agreement: float | None = None, level: float = LEVEL
) -> NoiseFloor:
    """The noise floor from accuracies by seed on n images and, for the plug-in, `agreement`.

    `run_sd` is the standard deviation s over k seeds, between s·√((k − 1)/χ²) at the two quantiles;
    None for one seed, without an interval where seeds do not differ. A `run_sd` whose interval lies
    above `bound` says that images err together, run by run. Raises ValueError for no accuracies, or
    one outside 0 to 100.

    >>> floor = noise_floor([80.0, 80.4, 79.9], 10_000)
    >>> round(floor.run_sd, 3), round(floor.bound, 3)
    (0.265, 0.399)
    """
    if not accuracies or not all(0 <= value <= 100 for value in accuracies):
        raise ValueError(f"accuracies {list(accuracies)}; expected some, from 0 to 100")
    own = mean_interval(accuracies)
    share = own.mean / 100
    return NoiseFloor(
        seeds=own.seeds,
        images=images,
        run_sd=own.sd,
        interval=sd_interval(own.sd, own.seeds, level) if own.sd else None,
        bound=100 * sqrt(share * (1 - share) / images),
        plug_in=None if agreement is None else 100 * sqrt((1 - agreement) / 2 / images),
    )


def sd_interval(sd: float, seeds: int, level: float = LEVEL) -> Interval:
    """The interval of a normal standard deviation, s·√(ν/χ²_ν), ν = seeds − 1 (Fisher 1925).

    >>> sd_interval(1.0, 11).low < 1.0 < sd_interval(1.0, 11).high
    True
    """
    from scipy.special import chdtri

    df, tail = seeds - 1, (1 - level) / 2
    low, high = (sd * sqrt(df / chdtri(df, p)) for p in (tail, 1 - tail))
    return Interval(low=low, high=high)


def agreement(correct: Outcomes) -> float:
    """How often two seeds agree on an image: both right or both wrong; outcomes (k, n) of 0 and 1.

    The mean over images and over the k(k − 1)/2 pairs of seeds, an unbiased estimate of
    1 − 2·mean p_i (1 − p_i). Raises ValueError for fewer than two seeds, or no images.

    >>> agreement(np.array([[1, 1, 0, 0], [1, 0, 1, 0]]))
    0.5
    """
    if correct.ndim != 2 or len(correct) < 2 or not correct.size:
        raise ValueError(f"outcomes {correct.shape}; expected (2 or more seeds, images)")
    k, right = len(correct), correct.sum(axis=0, dtype=np.int64)
    return float(1 - np.mean(right * (k - right)) / (k * (k - 1) / 2))
