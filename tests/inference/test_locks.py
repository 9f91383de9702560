"""Verdicts made anew from what is committed, nothing trained: `make lock` makes these anew too.

Decisions are locked exactly, as text; numbers by the column. Between the measurements and a
verdict there is arithmetic alone, whose closed forms two engines give alike within 1e-10: ten
times that is let pass, for other versions of numpy and scipy.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pytest_regressions.data_regression import DataRegressionFixture
from pytest_regressions.dataframe_regression import DataFrameRegressionFixture

from reclaim.inference.verdicts import judge_scale
from reclaim.records import SEAL

REFERENCE = Path("results/reference")
SCALES = ("digits", "fashion")
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
# What verdicts.json repeats of the claims, and the ids of the runs, which their counts stand for;
# the checksum that seeds_wanted.json has of itself.
KNOWN = {"claim", "paper", "kind", "text", "printed", "recipe", "dataset", "metric", "runs", SEAL}


def judged(scale: str, root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `reclaim judge` makes of the committed measurements and predictions."""
    (root / scale).mkdir()
    for path in (REFERENCE / scale).iterdir():
        if path.name in ("measurements.csv", "plan.json"):
            shutil.copy(path, root / scale)
    (root / scale / "evaluations").symlink_to((REFERENCE / scale / "evaluations").resolve())
    made = judge_scale(scale, root)
    return json.loads(made.read_text()), json.loads((made.parent / "seeds_wanted.json").read_text())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values in a JSON value, by dotted path."""
    parts: Any = ()
    if isinstance(value, dict):
        parts = [(key, part) for key, part in value.items() if path or key not in KNOWN]
    elif isinstance(value, list):
        parts = enumerate(value)
    else:
        yield path, value
    for key, part in parts:
        yield from leaves(part, f"{path}.{key}" if path else str(key))


def split(rows: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], pd.DataFrame]:
    """Decisions by row and path, and the numbers as a table."""
    flat = {name: dict(leaves(row)) for name, row in rows.items()}
    numbers = {n: {p: v for p, v in row.items() if isinstance(v, float)} for n, row in flat.items()}
    decided = {
        n: {p: v for p, v in row.items() if not isinstance(v, float) and v is not None}
        for n, row in flat.items()
    }
    return decided, pd.DataFrame.from_dict(numbers, orient="index").astype(float).sort_index(axis=1)


@pytest.mark.regression
@pytest.mark.parametrize("scale", SCALES)
def test_verdicts_on_the_committed_measurements_are_locked(
    scale: str,
    tmp_path: Path,
    data_regression: DataRegressionFixture,
    dataframe_regression: DataFrameRegressionFixture,
) -> None:
    verdicts, wanted = judged(scale, tmp_path)
    rows = {row["claim"]: row for row in verdicts["verdicts"]}
    rows |= {f"ranking {row['paper']} {row['column']}": row for row in verdicts["rankings"]}
    rows |= {f"{row['config']} {row['protocol']} {row['metric']}": row for row in verdicts["noise"]}
    assert len(rows) == sum(len(verdicts[name]) for name in ("verdicts", "rankings", "noise"))
    decided, numbers = split(rows)
    data_regression.check(decided | {"seeds wanted": dict(leaves(wanted))})
    dataframe_regression.check(numbers, tolerances=dict.fromkeys(numbers.columns, CLOSE))


def test_what_is_decided_and_what_is_a_number_are_told_apart() -> None:
    row = {
        "claim": "x",
        "verdict": "open",
        "seeds": 3,
        "mean": 1.5,
        "at": [{"low": 0.0}],
        "p": None,
    }
    decided, numbers = split({"x": row})
    assert decided == {"x": {"verdict": "open", "seeds": 3}}
    assert numbers.to_dict("index") == {"x": {"mean": 1.5, "at.0.low": 0.0}}
