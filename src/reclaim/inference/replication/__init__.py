"""What a few seeds say about what a paper printed: pure functions over plain numbers.

Nothing here knows of papers or files. p-values are raw; `families` adjusts them.
"""

from reclaim.inference.replication.estimates import (
    LEVEL,
    Estimate,
    Transfer,
    mean_interval,
    paired_difference,
    prediction_interval,
    rounding,
    t_limit,
    transfer,
    varies,
)

__all__ = [
    "LEVEL",
    "Estimate",
    "Transfer",
    "mean_interval",
    "paired_difference",
    "prediction_interval",
    "rounding",
    "t_limit",
    "transfer",
    "varies",
]
