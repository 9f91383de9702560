"""The table of measurements: gathered from what evaluations left, read back with every row checked.

One row per run x protocol x metric; accuracies are fractions in [0, 1]. The bytes are a function of
the evaluations alone: rows are sorted, values are written by `repr`, which reads back exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reclaim import records
from reclaim.records import REHEARSAL, SCHEMA_VERSION, EvaluationManifest, Plan, ReclaimError, Run
from reclaim.registry.jobs import measures

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

COLUMNS = (
    "schema_version", "scale", "run", "recipe", "dataset", "seed", "protocol", "metric", "value",
    "code",
)  # fmt: skip
KEY = ["recipe", "dataset", "seed", "run", "protocol", "metric"]
ACCURACIES = ("top1", "top5")
REMEDY = "run `reclaim gather` to make it anew"
NO_RESULT = "of a rehearsal, two steps on made-up images, which measures nothing"


def gather(
    scale: str, root: Path = Path("results"), expected: Sequence[tuple[str, str]] | None = None
) -> Path:
    """Write results/<scale>/measurements.csv from the evaluations that are there.

    `expected` (run id, protocol) limits the table to a plan's rows, so that what an older plan
    left behind stays out. Raises ReclaimError for a rehearsal, an unreadable evaluation, one that
    lies in another's folder, or none at all.
    """
    import pandas as pd

    if scale == REHEARSAL:
        raise ReclaimError(f"{root / scale}: all of it is {NO_RESULT}; gather another scale")
    folder = root / scale / "evaluations"
    wanted = None if expected is None else set(expected)
    rows = [
        row
        for path in sorted(folder.glob("*/*/*/metrics.json"))
        if wanted is None or (path.parts[-3], path.parts[-2]) in wanted
        for row in rows_of(path, scale)
    ]
    if not rows:
        raise ReclaimError(f"{folder}: no evaluation of the plan; run `reclaim evaluate` first")
    target = root / scale / "measurements.csv"
    records.write_text(target, render(pd.DataFrame(rows, columns=list(COLUMNS))))
    return target


def expected_of(plan: Plan) -> list[tuple[str, str]]:
    """What a plan asks to be measured: (run id, protocol) as the evaluations' folders name them."""
    return [(run.id, name) for run in plan.runs for name in measures(plan, run)]


def rows_of(path: Path, scale: str) -> list[dict[str, Any]]:
    """The rows of one metrics.json, checked against the folder it lies in."""
    made = records.read(path, EvaluationManifest, "run `reclaim evaluate` for that run again")
    place = (path.parts[-4], path.parts[-3], path.parts[-2])
    if (made.recipe, made.run, made.protocol) != place or made.scale != scale:
        raise ReclaimError(
            f"{path}: says it is {made.scale}/{made.recipe}/{made.run}/{made.protocol}; "
            "delete the misplaced folder"
        )
    return made.rows


def render(frame: pd.DataFrame) -> str:
    """The text of the file: sorted rows, shortest decimals that read back to the same floats."""
    ordered = frame.sort_values(KEY).assign(value=lambda table: table["value"].map(repr))
    return ordered.to_csv(index=False, lineterminator="\n")


def digest(frame: pd.DataFrame) -> str:
    """sha256 of the file that holds exactly these measurements (of a gathered file: its own)."""
    return hashlib.sha256(render(frame).encode()).hexdigest()


def read(path: Path) -> pd.DataFrame:
    """Read a table of measurements; `schema_version` and `seed` int, `value` float, others text.

    Raises ReclaimError naming the file and the line: another schema version, a missing or unknown
    column, a row of a rehearsal, an empty cell, a seed or value that is no number, an accuracy
    outside [0, 1], two rows for one run, protocol and metric, a run with two scales, recipes,
    data sets or seeds.
    """
    frame = parse(path)
    check_versions(path, frame)
    refuse(path, frame["scale"] == REHEARSAL, frame, f"the row is {NO_RESULT}")
    for column in COLUMNS:
        refuse(path, frame[column].str.strip() == "", frame, f"{column} is missing")
    return check_values(path, frame)


def parse(path: Path) -> pd.DataFrame:
    """The file as text cells, its header checked; row i is line i + 2."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except FileNotFoundError as error:
        raise ReclaimError(f"{path}: not found; {REMEDY}") from error
    except (OSError, ValueError) as error:  # pandas' own ParserError is a ValueError
        cause = str(error).strip().splitlines()[-1]
        raise ReclaimError(f"{path}: not readable as CSV ({cause}); {REMEDY}") from error
    absent = [column for column in COLUMNS if column not in frame.columns]
    unknown = [column for column in frame.columns if column not in COLUMNS]
    if absent or unknown:
        fault = f"column {absent[0]} is missing" if absent else f"unknown column {unknown[0]}"
        raise ReclaimError(f"{path}: line 1: {fault}; {REMEDY}")
    if frame.empty:
        raise ReclaimError(f"{path}: no measurements; {REMEDY}")
    # A row with too few cells is filled with NaN whatever keep_default_na says.
    return frame.fillna("")


def check_versions(path: Path, frame: pd.DataFrame) -> None:
    """Refuse rows of another schema version."""
    other = frame["schema_version"] != str(SCHEMA_VERSION)
    given = frame["schema_version"][other]
    what = f"schema version {next(iter(given), '')!r}, this reclaim reads {SCHEMA_VERSION}"
    refuse(path, other, frame, what)


def check_values(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its numbers as numbers, every rule of `read` about them kept."""
    import numpy as np
    import pandas as pd

    seed, value = (pd.to_numeric(frame[name], errors="coerce") for name in ("seed", "value"))
    refuse(path, ~frame["seed"].str.fullmatch(r"\d+"), frame, "seed is not a whole number", "seed")
    refuse(path, ~np.isfinite(value), frame, "value is not a finite number", "value")
    outside = frame["metric"].isin(ACCURACIES) & ~value.between(0, 1)
    refuse(path, outside, frame, "an accuracy lies in [0, 1]", "value")
    twice = frame.duplicated(["run", "protocol", "metric"])
    refuse(path, twice, frame, "a second row for the same run, protocol and metric", "run")
    alike = ["scale", "recipe", "dataset", "seed"]
    first = frame.groupby("run")[alike].transform("first")
    for column in alike:
        other = frame[column] != first[column]
        refuse(path, other, frame, f"the run has another {column} above", column)
    return frame.assign(schema_version=SCHEMA_VERSION, seed=seed.astype(int), value=value)


def refuse(
    path: Path,
    bad: pd.Series[bool] | NDArray[np.bool_],
    frame: pd.DataFrame,
    what: str,
    column: str | None = None,
) -> None:
    """Raise ReclaimError for the first row where `bad` is true, quoting the cell of `column`."""
    if not bad.any():
        return
    row = list(bad).index(True)
    given = "" if column is None else f" (given {frame[column].iloc[row]!r})"
    raise ReclaimError(f"{path}: line {row + 2}: {what}{given}; {REMEDY}")


def check_planned(path: Path, frame: pd.DataFrame, plan: Plan) -> None:
    """See that the rows are a plan's: whole runs of it, without a gap in a config's seeds.

    Raises ReclaimError naming the file and the line: a row of another scale, of a run that the plan
    does not have or describes otherwise, a run without a metric that its config's other runs have,
    a seed that is missing before one that is there. What sweeps left unfinished is no gap.
    """
    import numpy as np

    refuse(path, frame["scale"] != plan.scale, frame, f"the plan is of {plan.scale!r}", "scale")
    by_id = {run.id: run for run in plan.runs}
    runs = [by_id.get(name) for name in frame["run"].tolist()]
    unplanned = f"a measurement without a run in the plan of {plan.scale!r}"
    refuse(path, np.array([run is None for run in runs]), frame, unplanned, "run")
    for column in ("recipe", "dataset", "seed"):
        pairs = zip(frame[column].tolist(), runs, strict=True)
        other = np.array([given != getattr(run, column) for given, run in pairs])
        refuse(path, other, frame, f"the plan has another {column}", column)
    check_seeds(path, frame, plan)


def check_seeds(path: Path, frame: pd.DataFrame, plan: Plan) -> None:
    """Refuse gaps: in the seeds of a planned config, or in the metrics of one of its runs."""
    first: dict[tuple[str, str], dict[str, int]] = {}
    columns = (frame[name].tolist() for name in ("run", "protocol", "metric"))
    for place, (run, protocol, metric) in enumerate(zip(*columns, strict=True)):
        first.setdefault((run, protocol), {})[metric] = place + 2
    configs: dict[str, list[Run]] = {}
    for planned in plan.runs:
        if not planned.variant:
            configs.setdefault(planned.config, []).append(planned)
    protocols = tuple(frame["protocol"].unique())
    for runs in configs.values():
        rows = sorted(runs, key=lambda run: run.seed)
        for protocol in protocols:
            there = [(run, first.get((run.id, protocol), {})) for run in rows]
            if fault := _gap(there):
                line, what = fault
                raise ReclaimError(f"{path}: line {line}: {protocol}: {what}")


def _gap(there: Sequence[tuple[Run, Mapping[str, int]]]) -> tuple[int, str] | None:
    """The first fault of a config's runs by one protocol, each with the line of each metric."""
    every = {metric: None for _, lines in there for metric in lines}
    absent: Run | None = None
    for run, lines in there:
        if lines and absent:
            missing = f"seed {absent.seed} is missing before this seed {run.seed}"
            return min(lines.values()), f"{missing}; run `reclaim evaluate {absent.id}` and gather"
        if lacking := [metric for metric in every if lines and metric not in lines]:
            what = f"{lacking[0]} is missing, which other seeds have; {REMEDY}"
            return min(lines.values()), what
        absent = absent or (None if lines else run)
    return None


def points(metric: str) -> int:
    """What turns a measured value into the unit papers print: accuracies become percentages."""
    return 100 if metric in ACCURACIES else 1
