"""What gives the same bits, and how far the rest drifts: the determinism matrix.

    python -m tests.campaigns.drift [--whole SCALE] [--keep FOLDER] [--torch FOLDER] [--table]

Whole processes train recipes at the scale `digits`: cut to 20 steps under conditions that may
change no bit, and to 20 steps or to the end where the arithmetic itself is another one. Writes the
measured values, the two budgets (`workflow/drift.yaml`) and the tables of docs/determinism.md.
What is in FOLDER already is not trained again. `--whole`: only whole trainings, at that scale;
`--torch`: a folder with another version of torch and torchvision; `--table`: only the tables and
budgets, from the values measured before.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pandas as pd
import yaml

from reclaim.records import (
    Cost,
    EvaluationManifest,
    Plan,
    Run,
    RunManifest,
    content_hash,
    read,
    stamp,
    write,
)
from reclaim.registry.jobs import (
    DATA,
    ENCODERS,
    committed_plan,
    evaluation_folder,
    job_of,
    run_folder,
)
from reclaim.registry.recipes import RECIPES as METHODS
from tests.conftest import locked_config

ROOT = Path(__file__).parents[2]
RECIPES = ("simclr", "moco_v2", "byol", "dino", "psm_released")
WHOLE = tuple(name for name in RECIPES if name != "dino")  # which takes three times as long
BITS = (*ENCODERS.values(), "curve.csv")
PRECISIONS = ("float64", "float32", "bfloat16")  # float64: the trainings of the locks
EQUAL, DRIFT = (ROOT / f"results/reference/drift/{name}.csv" for name in ("equal", "drift"))
BUDGETS = ROOT / "workflow/drift.yaml"
DOCUMENT = ROOT / "docs/determinism.md"
BEGIN, END = "<!-- measured -->", "<!-- end of what was measured -->"
SHOWN = {"linear top1": "linear", "knn top1": "k-NN", "fine_tune top1": "fine-tuned"}
REFERENCE = ROOT / "results/reference"


def plan_of(
    precision: str, steps: int | None, recipes: Sequence[str] = RECIPES, scale: str = "digits"
) -> Plan:
    """Seed 0 of some recipes at a scale, cut to `steps` (a multiple of 4) or whole and measured.

    The warm-up takes three epochs, so there are four, cut short.
    """
    planned = committed_plan(scale)
    cut: dict[str, Any] = {"scale": "drift", "precision": precision}
    cut |= {} if steps is None else {"epochs": 4, "max_steps": steps // 4}
    configs, runs = {}, []
    for run in planned.runs:
        if run.seed == 0 and run.recipe in recipes:
            config = planned.configs[run.config].model_copy(update=cut)
            key = f"{run.recipe}-{run.dataset}-{content_hash(config)[:8]}"
            row = {"id": f"{key}-s0", "config": key, "protocols": () if steps else run.protocols}
            configs[key] = config
            runs.append(run.model_copy(update=row))
    return planned.model_copy(
        update={"scale": "drift", "configs": configs, "runs": tuple(runs), "not_run": {}}
    )


def locked_plan() -> Plan:
    """The trainings of the regression locks, of every recipe: 20 steps of a tiny network."""
    configs, runs = {}, []
    for name, row in METHODS.items():
        if row.terms and not row.init:
            config = locked_config(name)
            key = f"{name}-digits-{content_hash(config)[:8]}"
            configs[key] = config
            runs.append(
                Run(
                    id=f"{key}-s0", recipe=name, dataset="digits", seed=0, config=key,
                    protocols=(), cost=Cost(steps=20, images_seen=0),
                )
            )  # fmt: skip
    return Plan(scale="drift", configs=configs, protocols={}, runs=tuple(runs))


# --- one process -------------------------------------------------------------------------------


def work(folder: Path, data: Path, threads: int, times: int) -> None:
    """Train and measure the runs of `folder/plan.json` in this process, so many times over."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:  # its own operators do not fit this torch; none of them is used
        sys.modules["torchvision._meta_registrations"] = ModuleType("none")
    import torch

    from reclaim.learning import evaluate, train
    from reclaim.learning.data import fetch_data

    plan = read(folder / "plan.json", Plan, "start the campaign again")
    for name in {config.dataset.name for config in plan.configs.values()}:
        fetch_data(name, data)
    pool = partial(torch.set_num_threads, threads)
    own_pool = (patch.object(module, "use_one_thread", pool) for module in (train, evaluate))
    with next(own_pool), next(own_pool):
        for results in (folder / str(n) for n in range(times)):
            for run in plan.runs:
                job = job_of(plan, run)
                train.pretrain(job.pretrain, results, data, "cpu")
                evaluate.evaluate(job.pretrain, job.evaluate, results, data, "cpu")


def start(
    folder: Path,
    plan: Plan,
    threads: int = 1,
    times: int = 1,
    data: Path = ROOT / DATA,
    **environment: str,
) -> Path:
    """A process of its own for the runs of a plan; returns where the last time's results lie."""
    write(folder / "plan.json", plan)
    command = [sys.executable, "-m", "tests.campaigns.drift", "--worker", str(folder)]
    command += ["--data", str(data), "--threads", str(threads), "--times", str(times)]
    # Threads that wait shall sleep: how they wait changes no bit, and the machine has other work.
    pools = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
    run_in(folder, command, pools | environment, ROOT)
    return folder / str(times - 1)


def run_in(
    folder: Path, command: Sequence[str], environment: Mapping[str, str], where: Path | None = None
) -> None:
    """A command of a folder to its end, once. Raises RuntimeError with what it said last."""
    done = folder / f".{content_hash([command, dict(environment)])[:16]}.done"
    if done.is_file():
        return
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        command, cwd=where or folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{ended.stdout[-1000:]}\n{ended.stderr[-3000:]}")
    done.touch()


# --- the same bits -----------------------------------------------------------------------------


def project(folder: Path, plan: Plan) -> Path:
    """A folder in which the verbs and both engines find the plan and the images."""
    if (folder / "params.yaml").is_file():
        return folder
    for name in ("Snakefile", "dvc.yaml", ".dvcignore"):
        (folder / "workflow").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "src").symlink_to(ROOT / "src")
    (folder / "profiles").symlink_to(ROOT / "workflow/profiles")
    for part in (ROOT / "workflow").iterdir():
        if part.name != "plans":
            (folder / "workflow" / part.name).symlink_to(part)
    write(folder / "workflow/plans/drift.json", plan)
    shutil.copytree(ROOT / DATA / "digits", folder / DATA / "digits")
    run_in(folder, ["dvc", "init", "--no-scm", "--quiet"], {})
    recipes: dict[str, Any] = {run.recipe: {} for run in plan.runs}
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params |= {"scale": "drift", "dataset": "digits", "recipes": recipes, "from_dino": {}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


def by_verb(folder: Path, plan: Plan) -> Path:
    """The runs one after the other, a process each."""
    for run in plan.runs:
        command = ["reclaim", "pretrain", run.id, "--scale", "drift", "--device", "cpu"]
        run_in(project(folder, plan), command, {})
    return folder / "results/drift"


def by_snakemake(folder: Path, plan: Plan, cores: int) -> Path:
    results = Path("results/drift")
    ends = [str(run_folder(results, run.recipe, run.id) / "run.json") for run in plan.runs]
    command = ["snakemake", *ends, "--cores", str(cores), "--config", "scale=drift"]
    run_in(project(folder, plan), command, {})
    return folder / results


def by_dvc(folder: Path, plan: Plan) -> Path:
    command = ["dvc", "repro", *(f"pretrain@{run.recipe}" for run in plan.runs)]
    run_in(project(folder, plan), command, {})
    return folder / "results/drift"


def cold(folder: Path, plan: Plan) -> Path:
    """Without a cache of anything: images, byte code, what libraries keep in a home."""
    empty = ("HOME", "XDG_CACHE_HOME", "TORCH_HOME", "PYTHONPYCACHEPREFIX")
    places = {name: str(folder / name.lower()) for name in empty}
    return start(folder, plan, data=folder / "data", **places)


def backwards(folder: Path, plan: Plan) -> Path:
    """All in one process in the other order, and then once more."""
    return start(folder, plan.model_copy(update={"runs": plan.runs[::-1]}), times=2)


CONDITIONS: Mapping[str, Callable[[Path, Plan], Path]] = {
    "a process each, by the verb": by_verb,
    "`PYTHONHASHSEED=0`": partial(start, PYTHONHASHSEED="0"),
    "`PYTHONHASHSEED=4711`": partial(start, PYTHONHASHSEED="4711"),
    "no cache: images fetched anew, no byte code, empty home": cold,
    "the other order, in one process, the second time": backwards,
    "`snakemake --cores 1`": partial(by_snakemake, cores=1),
    "`snakemake --cores 2`": partial(by_snakemake, cores=2),
    "`dvc repro`, two side by side": by_dvc,
}


def bits(results: Path, plan: Plan) -> dict[tuple[str, str], str]:
    """sha256 of the encoders and the curve, by recipe and file."""
    return {
        (run.recipe, name): stamp(run_folder(results, run.recipe, run.id) / name).sha256
        for run in plan.runs
        for name in BITS
    }


def committed_bits() -> dict[tuple[str, str], str]:
    """Those of the committed runs of seed 0, which another process made on another day."""
    found = {}
    for run in committed_plan("digits").runs:
        if run.seed == 0 and run.recipe in WHOLE:
            path = run_folder(REFERENCE / "digits", run.recipe, run.id) / "run.json"
            files = read(path, RunManifest, "").files
            found |= {(run.recipe, name): files[name].sha256 for name in BITS}
    return found


def same(condition: str, steps: int, one: Mapping[Any, str], two: Mapping[Any, str]) -> list[Any]:
    """A row of the first table: how many files there are, and how many are equal."""
    assert one.keys() == two.keys()
    return [condition, steps, len(one), sum(one[name] == two[name] for name in one)]


# --- the drift ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Switch:
    """Another way to do the same arithmetic; `whole` trainings are made with it too.

    Two threads are for the full precisions alone: in bfloat16 the backward kernels spin.
    """

    name: str
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True

    @property
    def precisions(self) -> Sequence[str]:
        """Those in which it is tried for 20 steps."""
        return PRECISIONS if self.threads == 1 else PRECISIONS[:2]


def switches(other_torch: str | None) -> list[Switch]:
    """What can be switched on one machine; last what may take minutes where cores are shared."""
    made = [
        Switch("AVX2 in ATen", environment={"ATEN_CPU_CAPABILITY": "avx2"}),
        Switch("no vectors in ATen", environment={"ATEN_CPU_CAPABILITY": "default"}, whole=False),
        Switch("AVX2 in oneDNN", environment={"ONEDNN_MAX_CPU_ISA": "AVX2"}),
        Switch("AVX2 in MKL", environment={"MKL_ENABLE_INSTRUCTIONS": "AVX2"}, whole=False),
    ]
    if other_torch:
        text = (Path(other_torch) / "torch/version.py").read_text(encoding="utf-8")
        [version] = re.findall(r"^__version__ = '(.+)'$", text, re.MULTILINE)
        name = f"torch {version}"
        made.append(Switch(name, environment={"PYTHONPATH": other_torch}))
    return [*made, Switch("2 threads", 2)]


def distances(one: Path, two: Path, plans: tuple[Plan, Plan]) -> Iterable[tuple[str, str, float]]:
    """How far two results of the same runs are apart: recipe, quantity, value.

    `weights`: Euclidean, relative; `loss`: the largest relative difference of an epoch; a metric:
    absolute, in its own unit.
    """
    from safetensors.torch import load_file
    from torch import cat

    for first, second in zip(plans[0].runs, plans[1].runs, strict=True):
        a, b = (run_folder(r, run.recipe, run.id) for r, run in ((one, first), (two, second)))
        v, w = (load_file(folder / BITS[0]) for folder in (a, b))
        flat, other = (cat([t[k].double().flatten() for k in sorted(v)]) for t in (v, w))
        yield first.recipe, "weights", float((flat - other).norm() / flat.norm())
        loss, again = (pd.read_csv(folder / "curve.csv")["loss"] for folder in (a, b))
        yield first.recipe, "loss", float(((loss - again) / loss).abs().max())
        for name in first.protocols:
            kind = plans[0].protocols[name].kind
            x, y = (
                read(
                    evaluation_folder(r, run.recipe, run.id, kind) / "metrics.json",
                    EvaluationManifest, "",
                ).metrics
                for r, run in ((one, first), (two, second))
            )  # fmt: skip
            yield from ((first.recipe, f"{kind} {m}", abs(x[m] - y[m])) for m in x)


def measure(folder: Path, other_torch: str | None) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Both tables of measured values: after the runs of 20 steps, and once more with the rest."""
    short, whole = plan_of("float32", 20), plan_of("float32", None, WHOLE)
    first = bits(start(folder / "float32-20", short), short)
    equal = []
    for number, (condition, make) in enumerate(CONDITIONS.items()):
        print(condition, file=sys.stderr, flush=True)
        made = bits(make(folder / f"equal-{number}", short), short)
        equal.append(same(condition, 20, first, made))
    early = drifts(folder, "digits", 20, other_torch)
    yield _equal(equal), early
    late = drifts(folder, "digits", None, other_torch)
    trained = bits(folder / "float32-whole/0", whole)
    equal.append(same("the committed runs, another day", 300, trained, committed_bits()))
    yield _equal(equal), pd.concat([early, late])


def measure_whole(
    folder: Path, scale: str, other_torch: str | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables as they stand, but with whole trainings at this scale made anew."""
    equal, drift = read_measured()
    others = drift[(drift["scale"] != scale) | (drift["steps"] == 20)]
    return equal, pd.concat([others, drifts(folder, scale, None, other_torch)])


def _equal(rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["condition", "steps", "files", "equal"])


def drifts(folder: Path, scale: str, steps: int | None, other_torch: str | None) -> pd.DataFrame:
    """How far every switch takes the recipes after some steps, or a whole training (None)."""
    length = str(steps or "whole")
    recipes, precisions = (RECIPES, PRECISIONS) if steps else (WHOLE, PRECISIONS[1:])
    if scale != "digits":  # what another precision does is told once: no budget holds it
        precisions = PRECISIONS[1:2]
    plans = {p: plan_of(p, steps, recipes, scale) for p in precisions}
    plans |= {"float64": locked_plan()} if steps else {}

    def train(switch: Switch, precision: str) -> Path:
        print(scale, switch.name, precision, length, file=sys.stderr, flush=True)
        words = (precision, length, *switch.name.split())
        there = folder / "-".join(words)
        return start(there, plans[precision], switch.threads, **switch.environment)

    tried = []
    for switch in switches(other_torch):
        among = switch.precisions if steps else PRECISIONS[1:2] if switch.whole else ()
        tried += [(switch, p) for p in among]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        unswitched = pool.map(partial(train, Switch("")), plans)
        switched = pool.map(lambda pair: train(*pair), tried)
        base = dict(zip(plans, unswitched, strict=True))
        pairs = [
            (switch.name, p, p, path) for (switch, p), path in zip(tried, switched, strict=True)
        ]
    if "bfloat16" in base:
        pairs.insert(0, ("bfloat16, not float32", "float32", "bfloat16", base["bfloat16"]))
    rows = [
        (scale, name, one, steps or plans[one].runs[0].cost.steps, *found)
        for name, one, two, path in pairs
        for found in distances(base[one], path, (plans[one], plans[two]))
    ]
    columns = ["scale", "switch", "precision", "steps", "recipe", "quantity", "value"]
    return pd.DataFrame(rows, columns=columns)


# --- the tables --------------------------------------------------------------------------------


def budgets(drift: pd.DataFrame) -> dict[str, Any]:
    """The largest drift of any recipe by a switch that leaves the precision alone.

    A CPU without vector kernels is left out: in float32 it makes other views.
    """
    apart = drift["switch"].str.startswith(("bfloat16", "no vectors"))
    switched = drift[~apart]
    early, late = switched[switched["steps"] == 20], switched[switched["steps"] != 20]
    tight: dict[str, Any] = {
        p: {q: float(f"{v:.2g}") for q, v in part.groupby("quantity")["value"].max().items()}
        for p, part in early.groupby("precision")
    }
    final: dict[str, dict[str, dict[str, float]]] = {}
    for (scale, quantity), value in late.groupby(["scale", "quantity"])["value"].max().items():
        kind, _, metric = quantity.partition(" ")
        if metric:
            final.setdefault(scale, {}).setdefault(kind, {})[metric] = float(f"{value:.6g}")
    return {"steps_20": tight, "final": final}


def seed_sd(scale: str, metric: str) -> float:
    """The SD over seeds of a metric in percent points, pooled over the recipes, as committed."""
    kind, name = metric.split()
    table = pd.read_csv(REFERENCE / scale / "measurements.csv")
    runs = {run.id for run in committed_plan(scale).runs if run.recipe in WHOLE}
    chosen = table[
        table["run"].isin(runs) & (table["protocol"] == kind) & (table["metric"] == name)
    ]
    return 100 * float(chosen.groupby("recipe")["value"].var().mean()) ** 0.5


def render(equal: pd.DataFrame, drift: pd.DataFrame) -> str:
    """The markdown tables of docs/determinism.md."""
    lines = ["| what differs | steps | files | equal |", "|---|---:|---:|---:|"]
    lines += [
        f"| {row.condition} | {row.steps} | {row.files} | {row.equal} |"
        for row in equal.itertuples()
    ]
    early = drift["steps"] == 20
    lines += ["", *_early(drift[early])]
    for scale, late in drift[~early].groupby("scale", sort=True):
        lines += ["", *_late(str(scale), late)]
    return "\n".join(lines) + "\n"


def _early(drift: pd.DataFrame) -> Iterable[str]:
    yield from ("| after 20 steps | precision | weights | loss |", "|---|---|---:|---:|")
    groups = drift.groupby(["switch", "precision", "quantity"], sort=False)["value"]
    for (switch, precision), row in groups.max().unstack().iterrows():
        yield f"| {switch} | {precision} | {_power(row['weights'])} | {_power(row['loss'])} |"


def _late(scale: str, drift: pd.DataFrame) -> Iterable[str]:
    groups = drift.groupby(["switch", "quantity"], sort=False)["value"]
    most, mean = groups.max().unstack(), groups.mean().unstack()
    shown = [metric for metric in SHOWN if metric in most]
    yield (
        f"Whole trainings at `{scale}`, {drift['steps'].iloc[0]} steps in float32; top-1 in "
        "points, the mean and the largest difference:"
    )
    yield ""
    yield f"| what differs | weights | loss | {' | '.join(SHOWN[m] for m in shown)} |"
    yield "|---|---:|---:|" + "---:|" * len(shown)
    for switch in most.index:
        cells = [_power(most.loc[switch, q]) for q in ("weights", "loss")]
        cells += [
            f"{100 * mean.loc[switch, m]:.2f}, {100 * most.loc[switch, m]:.2f}" for m in shown
        ]
        yield f"| {switch} | {' | '.join(cells)} |"
    noise = [f"{seed_sd(scale, m):.2f}" for m in shown]
    yield f"| another seed: SD, three seeds of each recipe | | | {' | '.join(noise)} |"


def _power(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"


def read_measured() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables, as they were measured."""
    return pd.read_csv(EQUAL), pd.read_csv(DRIFT)


def keep(equal: pd.DataFrame, drift: pd.DataFrame) -> None:
    """Store what was measured."""
    EQUAL.parent.mkdir(parents=True, exist_ok=True)
    equal.to_csv(EQUAL, index=False, lineterminator="\n")
    drift.to_csv(DRIFT, index=False, lineterminator="\n")


def publish(equal: pd.DataFrame, drift: pd.DataFrame) -> str:
    """Write the budgets and put the tables into the document; returns the tables."""
    head = "# Measured by `python -m tests.campaigns.drift`; see docs/determinism.md.\n"
    text = head + yaml.safe_dump(budgets(drift), sort_keys=False)
    BUDGETS.write_text(text, encoding="utf-8")
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    tables = render(equal, drift)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}", encoding="utf-8")
    return tables


def main() -> None:
    """Measure, or make the tables again of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", choices=("digits", "fashion"))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--torch")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, default=ROOT / DATA, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.data, given.threads, given.times)
        return
    if not given.table:
        with tempfile.TemporaryDirectory() as scratch:
            folder = (given.keep or Path(scratch)).resolve()
            if given.whole:
                keep(*measure_whole(folder, given.whole, given.torch))
            else:
                for tables in measure(folder, given.torch):
                    keep(*tables)
                    publish(*tables)
    print(publish(*read_measured()), end="")


if __name__ == "__main__":
    main()
