"""The verbs, parsing only: each calls one function, imported when it is needed."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from reclaim.records import ReclaimError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Re-run what papers claim, and say what holds.",
)
fetch_app = typer.Typer(no_args_is_help=True, help="Get data: verified, unpacked once, stored.")
app.add_typer(fetch_app, name="fetch")

ScaleOption = Annotated[str, typer.Option("--scale", "-s", help="digits, fashion or paper.")]
RunArgument = Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id.")]
MaybeScale = Annotated[str | None, typer.Option("--scale", "-s", help="Its scale.")]
RecipeOption = Annotated[str | None, typer.Option(help="All runs of a recipe instead of one.")]
JobsOption = Annotated[int, typer.Option(min=1, help="Processes side by side, one thread each.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def main() -> None:
    """Run the command line; a fault that a person can mend is one line and exit status 2."""
    try:
        app()
    except ReclaimError as error:
        print(f"reclaim: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def plan(
    scale: ScaleOption = "digits",
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the committed plan is up to date.")
    ] = False,
) -> None:
    """Turn claims into runs: write `workflow/plans/SCALE.json` and show its cost.

    Example: `reclaim plan --scale fashion`
    """
    from reclaim.records import render, write_text_if_changed
    from reclaim.registry.jobs import PLANS
    from reclaim.registry.plan import build_plan
    from reclaim.report.terminal import show_plan

    made = build_plan(scale)
    path = PLANS / f"{scale}.json"
    if not check:
        write_text_if_changed(path, render(made))
        show_plan(made)
    elif not path.is_file() or path.read_text(encoding="utf-8") != render(made):
        raise ReclaimError(f"{path}: out of date; run `reclaim plan --scale {scale}`")


@app.command()
def resolve(scale: ScaleOption = "digits") -> None:
    """Write the job file of every run of a plan; files whose content is the same stay untouched.

    Example: `reclaim resolve --scale digits`
    """
    from reclaim.registry import jobs

    changed = jobs.resolve(scale)
    print(f"{len(changed)} job files changed")


@fetch_app.command("data")
def fetch_data(
    name: Annotated[str, typer.Argument(help="digits, fashion_mnist, cifar10, ...")],
) -> None:
    """Get a data set into `results/data/NAME`. RECLAIM_MIRROR names a folder or site of one's own.

    Example: `reclaim fetch data fashion_mnist`
    """
    from reclaim.learning.data import fetch_data as fetch
    from reclaim.registry.jobs import DATA

    print(fetch(name, DATA))


@app.command()
def pretrain(
    run: RunArgument = None,
    recipe: RecipeOption = None,
    scale: MaybeScale = None,
    jobs: JobsOption = 1,
    device: DeviceOption = "auto",
) -> None:
    """Train a run, or all runs of a recipe. A finished run returns at once; a cut one goes on.

    Example: `reclaim pretrain --recipe simclr --scale digits --jobs 2`
    """
    _each(_pretrain, run, recipe, scale, jobs, device, ())


@app.command()
def evaluate(
    run: RunArgument = None,
    recipe: RecipeOption = None,
    scale: MaybeScale = None,
    jobs: JobsOption = 1,
    device: DeviceOption = "auto",
    protocol: Annotated[
        list[str] | None, typer.Option(help="linear, knn, geometry; default: all of the plan.")
    ] = None,
) -> None:
    """Measure finished runs by every protocol asked for, in one process a run.

    Example: `reclaim evaluate --recipe simclr --scale digits --protocol linear --protocol knn`
    """
    _each(_evaluate, run, recipe, scale, jobs, device, tuple(protocol or ()))


@app.command()
def gather(scale: ScaleOption = "digits") -> None:
    """Collect all measurements of a scale into `results/SCALE/measurements.csv`.

    Example: `reclaim gather --scale digits`
    """
    from reclaim.inference.measurements import expected_of, missing
    from reclaim.inference.measurements import gather as collect
    from reclaim.registry.jobs import RESULTS, read_plan

    expected = expected_of(read_plan(scale))
    print(collect(scale, RESULTS, expected))
    absent = missing(scale, RESULTS, expected)
    if absent:
        print(
            f"{len(absent)} evaluations are not there yet, the first {absent[0][0]}",
            file=sys.stderr,
        )


@app.command()
def judge(scale: ScaleOption = "digits") -> None:
    """Turn measurements into one verdict per claim: `results/SCALE/verdicts.json`.

    Example: `reclaim judge --scale digits`
    """
    from reclaim.inference.verdicts import judge_scale
    from reclaim.registry.jobs import RESULTS

    print(judge_scale(scale, RESULTS))


@app.command()
def verify(scale: ScaleOption = "digits") -> None:
    """Check that all runs of a plan are finished, whole and made by the present code.

    Example: `reclaim verify --scale digits`
    """
    from reclaim.registry import jobs

    print(f"{jobs.verify(scale)} runs verified")


@app.command()
def report(scale: ScaleOption = "digits") -> None:
    """Show the verdicts: a table here and one self-contained page, `results/SCALE/report.html`.

    Example: `reclaim report --scale digits`
    """
    from reclaim.inference.verdicts import judged
    from reclaim.registry.claims import load_papers
    from reclaim.registry.jobs import RESULTS
    from reclaim.report.page import write_report
    from reclaim.report.terminal import print_table

    verdicts, measurements, quality = judged(scale, RESULTS)
    out = RESULTS / scale / "report.html"
    write_report(scale, verdicts, measurements, quality, load_papers(), out)
    print_table(verdicts, quality)
    print(out)


def _each(
    work: object,
    run: str | None,
    recipe: str | None,
    scale: str | None,
    jobs: int,
    device: str,
    protocols: tuple[str, ...],
) -> None:
    """Do one run's work in this process, or a recipe's in several."""
    from reclaim.registry.jobs import find_run, read_plan, runs_of

    assert callable(work)
    if (run is None) == (recipe is None):
        raise ReclaimError("name a run, or a recipe with --recipe, and not both")
    if run is not None:
        plan, row = find_run(run, scale)
        work(plan.scale, row.id, device, protocols)
        return
    plan = read_plan(scale or "digits")
    rows = runs_of(plan, recipe)
    with ProcessPoolExecutor(max_workers=min(jobs, len(rows))) as pool:
        started = [pool.submit(work, plan.scale, row.id, device, protocols) for row in rows]
        for future in started:
            future.result()


def _pretrain(scale: str, run: str, device: str, protocols: tuple[str, ...]) -> None:
    from reclaim.registry.jobs import DATA, RESULTS, data_hash, find_run, finished_run, job_of

    job = job_of(*find_run(run, scale)).pretrain
    results = RESULTS / scale
    if finished_run(results, job, data_hash(job.config.dataset.name)) is not None:
        print(f"{run}: already trained", file=sys.stderr)
        return
    from reclaim.learning.train import pretrain

    pretrain(job, results, Path(DATA), device)


def _evaluate(scale: str, run: str, device: str, protocols: tuple[str, ...]) -> None:
    from reclaim.registry.jobs import (
        DATA,
        RESULTS,
        data_hash,
        find_run,
        finished_evaluations,
        finished_run,
        job_of,
    )  # fmt: skip

    jobs = job_of(*find_run(run, scale))
    wanted = {
        name: protocol
        for name, protocol in jobs.evaluate.protocols.items()
        if not protocols or name in protocols
    }
    unknown = set(protocols) - set(jobs.evaluate.protocols)
    if unknown:
        raise ReclaimError(
            f"run {run} has no protocol {sorted(unknown)[0]!r}; "
            f"planned: {', '.join(jobs.evaluate.protocols)}"
        )
    job = jobs.evaluate.model_copy(update={"protocols": wanted})
    results = RESULTS / scale
    trained = finished_run(results, jobs.pretrain, data_hash(job.dataset.name))
    if trained and set(finished_evaluations(results, job, trained)) == set(wanted):
        print(f"{run}: already evaluated", file=sys.stderr)
        return
    from reclaim.learning.evaluate import evaluate

    evaluate(jobs.pretrain, job, results, Path(DATA), device)
