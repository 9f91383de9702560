"""The verbs, parsing only: each calls one function, imported when it is needed."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from typer.exceptions import TyperException

from reclaim.records import EvaluateJob, Plan, PretrainJob, ReclaimError, Run, printable

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Re-run what papers claim, and say what holds.",
)
fetch_app = typer.Typer(
    no_args_is_help=True, help="Get data or weights: verified, unpacked once, stored."
)
app.add_typer(fetch_app, name="fetch")

ScaleOption = Annotated[str, typer.Option("--scale", "-s", help="digits, fashion or paper.")]
RunArgument = Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id.")]
MaybeScale = Annotated[str | None, typer.Option("--scale", "-s", help="Its scale.")]
RecipeOption = Annotated[str | None, typer.Option(help="All runs of a recipe instead of one.")]
JobsOption = Annotated[int, typer.Option(min=1, help="Processes side by side, one thread each.")]

SweepsOption = Annotated[bool, typer.Option("--sweeps", help="Also what is planned apart.")]


class Device(Enum):
    """Where the arithmetic runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


DeviceOption = Annotated[Device, typer.Option(help="auto takes CUDA where there is one.")]


INTERRUPTED = 130  # what Typer returns for a KeyboardInterrupt, and shells say of SIGINT


def main() -> None:
    """Run the command line; a fault that a person can mend is one line and exit status 2."""
    try:
        status = app(standalone_mode=False)
    except ReclaimError as error:
        print(f"reclaim: {error}", file=sys.stderr)
        sys.exit(2)
    except TyperException as error:
        if text := error.format_message():  # none after the help of a command without arguments
            print(f"reclaim: {_one_line(text, error)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # the disk, at a place that no verb knows better
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"reclaim: {where}{error.strerror or error}; mend the disk, its space or the "
            "permissions and start the same command again",
            file=sys.stderr,
        )
        sys.exit(2)
    if status == INTERRUPTED:
        print("reclaim: interrupted; start the same command again to go on", file=sys.stderr)
    sys.exit(status)


def _one_line(text: str, error: TyperException) -> str:
    """What is wrong with a command as it was typed, and where its options stand."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "reclaim"
    return printable(f"{' '.join(text.split())} ({command} --help)")


@app.command()
def plan(
    scale: ScaleOption = "digits",
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the committed plan is up to date.")
    ] = False,
    extend: Annotated[
        bool,
        typer.Option("--extend", help="Add the readings, then the seeds, that results want."),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="With --extend: so many in all instead, once no reading is left."),
    ] = None,
) -> None:
    """Turn claims into runs: write `workflow/plans/SCALE.json` and show its cost.

    The sweeps are planned apart, in `SCALE.sweeps.json`. With --extend that plan stays as it is:
    what `judge` asks for is added in `results/SCALE/plan.json`.

    Example: `reclaim plan --scale fashion`
    """
    from reclaim.records import render, says, write_text_if_changed
    from reclaim.registry.jobs import plan_path
    from reclaim.registry.plan import build_plans, with_unrunnable_readings
    from reclaim.report.terminal import show_plan

    if (check and extend) or (seeds and not extend):
        raise ReclaimError("--seeds goes with --extend, and --check with neither")
    if extend:
        _extend(scale, seeds)
        return
    main, sweeps = build_plans(scale)
    for made, path in ((main, plan_path(scale)), (sweeps, plan_path(scale, sweeps=True))):
        if not check:
            write_text_if_changed(path, render(made))
        elif not says(path, render(made)):
            raise ReclaimError(f"{path}: out of date; run `reclaim plan --scale {scale}`")
    if not check:
        show_plan(main)
        print(f"{len(sweeps.runs)} runs of sweeps are planned apart")
        if main.readings and (never := with_unrunnable_readings()):
            print(f"{len(never)} printed numbers have a reading that nothing here can run:")
            for name, count in Counter(r for found in never.values() for r in found).items():
                print(f"  {count} have {name}")


def _extend(scale: str, seeds: int | None) -> None:
    from reclaim.registry.jobs import extend_plan, extension_path
    from reclaim.report.terminal import show_plan

    added = extend_plan(scale, seeds)
    if added.runs:
        show_plan(added)
        print(f"{extension_path(scale)}: {len(added.runs)} runs beside the committed plan")
    else:
        print("no claim wants more runs than are planned")


@app.command()
def resolve(scale: ScaleOption = "digits", sweeps: SweepsOption = False) -> None:
    """Write the job files of every run of a plan; files whose content is the same stay untouched.

    Example: `reclaim resolve --scale digits`
    """
    from reclaim.registry import jobs

    changed = jobs.resolve(scale, sweeps=sweeps)
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


@fetch_app.command("weights")
def fetch_weights(name: Annotated[str, typer.Argument(help="dino_resnet50")]) -> None:
    """Get published weights into `results/weights/NAME`, once, and pin their file.

    RECLAIM_MIRROR names a file, a folder or a site of one's own.

    Example: `reclaim fetch weights dino_resnet50`
    """
    from reclaim.learning.data.weights import fetch_weights as fetch
    from reclaim.registry.jobs import WEIGHTS

    print(fetch(name, WEIGHTS))


@app.command()
def pretrain(
    run: RunArgument = None,
    recipe: RecipeOption = None,
    scale: MaybeScale = None,
    jobs: JobsOption = 1,
    device: DeviceOption = Device.auto,
    sweeps: SweepsOption = False,
) -> None:
    """Train a run, or all runs of a recipe. A finished run returns at once; a cut one goes on.

    Example: `reclaim pretrain --recipe simclr --scale digits --jobs 2`
    """
    if recipe is None:
        _pretrain(run, scale, device)
    else:
        _refuse_both(run)
        from reclaim.registry.jobs import runs_of

        plan = _planned(scale, sweeps)
        rows = {row.id: ["--device", device.value] for row in runs_of(plan, recipe)}
        _side_by_side("pretrain", plan.scale, recipe, jobs, rows)


@app.command()
def evaluate(
    words: Annotated[list[str] | None, typer.Argument(metavar="[RUN]", help="A run's id.")] = None,
    recipe: RecipeOption = None,
    scale: MaybeScale = None,
    jobs: JobsOption = 1,
    device: DeviceOption = Device.auto,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P [P ...]",
            help="linear, knn, geometry, fine_tune, or one under another reading, as "
            "linear-encoder-last; default: all of the plan.",
        ),
    ] = None,
    sweeps: SweepsOption = False,
) -> None:
    """Measure finished runs by every protocol asked for, in one process a run.

    Example: `reclaim evaluate --recipe simclr --scale digits --protocol linear knn`
    """
    from reclaim.registry.code import MEASURES

    # Words after the first protocol are protocols too; click itself takes one word an option.
    named = [word for word in words or [] if word.partition("-")[0] not in MEASURES]
    protocols = [*(protocol or []), *(word for word in words or [] if word not in named)]
    if len(named) > 1:
        raise ReclaimError(f"one run at a time, not {', '.join(named)}; or name a --recipe")
    run = named[0] if named else None
    unknown = [name for name in protocols if name.partition("-")[0] not in MEASURES]
    if unknown:
        raise ReclaimError(f"unknown protocol {unknown[0]!r}; known: {', '.join(MEASURES)}")
    if recipe is None:
        _evaluate(run, scale, device, protocols)
    else:
        _refuse_both(run)
        plan = _planned(scale, sweeps)
        options = ["--device", device.value]
        rows = {
            row: [*options, *(word for name in found for word in ("--protocol", name))]
            for row, found in _measured_by(plan, recipe, protocols).items()
        }
        _side_by_side("evaluate", plan.scale, recipe, jobs, rows)


@app.command()
def gather(scale: ScaleOption = "digits", sweeps: SweepsOption = False) -> None:
    """Collect all measurements of a scale into `results/SCALE/measurements.csv`.

    And the mean loss of each recipe by epoch into `curves.csv` beside it. What older code made is
    left out, and said so.

    Those of sweeps are taken as far as they are there; with --sweeps, what is not is counted.

    Example: `reclaim gather --scale digits`
    """
    from reclaim.inference.measurements import expected_of
    from reclaim.inference.measurements import gather as collect
    from reclaim.inference.summary import write_curves
    from reclaim.registry.jobs import RESULTS, fresh, read_plan

    plan = read_plan(scale, sweeps=True)
    _say_stale(plan)
    made = fresh(plan, RESULTS)
    print(collect(scale, RESULTS, made))
    print(write_curves(plan, RESULTS, {run for run, _ in made}))
    expected = expected_of(read_plan(scale, sweeps))
    there = set(made)
    absent = [pair for pair in expected if pair not in there]
    if absent:
        run, protocol = absent[0]
        print(
            f"{len(absent)} of {len(expected)} evaluations are not there yet, the first "
            f"{run} by {protocol}",
            file=sys.stderr,
        )


def _say_stale(plan: Plan) -> None:
    """Count what older code or an older plan made, which no table and no verdict uses."""
    from reclaim.registry.jobs import stale

    found = stale(plan)
    if found:
        (run, protocol), why = next(iter(found.items()))
        print(
            f"{len(found)} evaluations are stale and count for nothing, the first {run} by "
            f"{protocol}: {why}; make them again, or certify their runs",
            file=sys.stderr,
        )


@app.command()
def judge(scale: ScaleOption = "digits") -> None:
    """Turn measurements into one verdict per claim: `results/SCALE/verdicts.json`.

    And into the few numbers that `dvc metrics show` prints, `summary.json` beside it, and how many
    seeds would settle what is open, `seeds_wanted.json`.

    Example: `reclaim judge --scale digits`
    """
    from reclaim.inference.verdicts import judge_scale, plan_of
    from reclaim.registry.jobs import RESULTS

    with _uncollected():
        plan = plan_of(scale, RESULTS)
        path = judge_scale(scale, RESULTS, plan)
        print(path, path.with_name("summary.json"), sep="\n")
        _say_stale(plan)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles: records have none, and it takes a third of the time of a large plan."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@app.command()
def audit(
    papers: Annotated[list[str] | None, typer.Argument(metavar="[PAPER ...]")] = None,
    claims: Annotated[
        Path, typer.Option(help="A claims folder, or one paper's own.", show_default=True)
    ] = Path("workflow/claims"),
    check: Annotated[
        list[str] | None, typer.Option(metavar="NAME [NAME ...]", help="Only these checks.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(metavar="VERDICT", help="Exit with status 1 if there is such a finding."),
    ] = None,
) -> None:
    """Say what the papers' own printed numbers prove: `results/audit.json`. Nothing is trained.

    With PAPER, --check or --claims the findings are printed alone, and no file is written.

    Example: `reclaim audit liu2024 --check arithmetic`
    """
    import json

    from reclaim.inference.audit import CHECKS, audit_claims, whole
    from reclaim.inference.audit.findings import WORDS

    # Words after the first check are checks too; click itself takes one word an option.
    named = [word for word in papers or [] if not check or word not in CHECKS]
    checks = [*(check or []), *(word for word in papers or [] if check and word in CHECKS)]
    if unknown := [word for word in fail_on or [] if word not in WORDS]:
        raise ReclaimError(f"unknown verdict {unknown[0]!r}; expected one of {', '.join(WORDS)}")
    made = audit_claims(claims, named, checks)
    if as_json:
        print(json.dumps([found.model_dump(mode="json") for found in made.findings], indent=1))
    else:
        from reclaim.report.terminal import print_audit

        print_audit(made, written=whole(claims, named, checks))
    if any(found.verdict in (fail_on or []) for found in made.findings):
        raise typer.Exit(1)


@app.command()
def bundle(scale: ScaleOption = "digits") -> None:
    """Put a scale's evidence under one hash: `results/SCALE/bundle.json`.

    Example: `reclaim bundle --scale digits`
    """
    from reclaim.records import write
    from reclaim.registry.bundle import BUNDLE, make
    from reclaim.registry.jobs import RESULTS

    made = make(scale, RESULTS / scale)
    write(RESULTS / scale / BUNDLE, made)
    print(f"{RESULTS / scale / BUNDLE}: root {made.root}")


@app.command()
def verify(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="A folder with a bundle.json.")
    ] = None,
    scale: MaybeScale = None,
    sweeps: SweepsOption = False,
) -> None:
    """Check a bundle file by file: exit status 1, and every name, if a bit of it was changed.

    Without a folder: check that all runs of a plan are finished, whole and made by the present
    code. No network is used.

    Example: `reclaim verify results/digits` or `reclaim verify --scale digits`
    """
    from reclaim.registry import jobs

    if folder is None:
        print(f"{jobs.verify(scale or 'digits', sweeps=sweeps)} runs verified")
        return
    if scale is not None or sweeps:
        raise ReclaimError("name a folder to check its bundle, or a --scale to check a plan's runs")
    from reclaim.registry.bundle import check, notes, summary

    made, faults = check(folder)
    for fault in faults:
        print(printable(f"{folder / fault.path}: {fault.what}"))
    if faults:
        raise typer.Exit(1)
    print(summary(folder, made))
    for note in notes(folder, made):
        print(f"note: {note}", file=sys.stderr)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="BUNDLE_A", help="A folder with a bundle.")],
    second: Annotated[Path, typer.Argument(metavar="BUNDLE_B", help="Another of that scale.")],
) -> None:
    """Say run by run whether two bundles are the same, the same within the drift budget, or not.

    Exit status 1 if a run is different, or one that the plan asks for is in one of them alone.
    What one of them has beyond the plan, as sweeps, is counted and not compared.

    Example: `reclaim compare results/reference/digits results/digits`
    """
    from reclaim.registry.compare import FAULTS, lines
    from reclaim.registry.compare import compare as pairs

    found = pairs(first, second)
    for line in lines(found):
        print(line)
    if any(pair.word in FAULTS for pair in found):
        raise typer.Exit(1)


@app.command()
def clean(
    scale: MaybeScale = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; else they are listed.")] = False,
) -> None:
    """List what no present plan and code owns: stale and orphaned files. With --yes, remove it.

    A finished valid run is never among them. First certify stale runs that a change of code left
    as they were: `python workflow/recertify.py SCALE`.

    Example: `reclaim clean --scale digits`
    """
    from reclaim.registry import jobs
    from reclaim.registry.clean import leftovers, remove

    for name in [scale] if scale else jobs.planned_scales() or ["digits"]:
        found = leftovers(jobs.read_plan(name, sweeps=True))
        for left in found:
            print(f"{left.path}: {left.why}")
        size = sum(left.bytes for left in found) / 1e6
        held = remove(found, jobs.RESULTS / name) if yes else []
        print(f"{name}: {len(found) - len(held)} {'removed' if yes else 'found'}, {size:.1f} MB")
        for left in held:
            print(f"{left.path}: a process works on {left.run}, left there", file=sys.stderr)
    if not yes:
        print("nothing was removed; --yes removes what is listed", file=sys.stderr)


@app.command()
def report(scale: ScaleOption = "digits") -> None:
    """Show the verdicts: a table here and one self-contained page, `results/SCALE/report.html`.

    Example: `reclaim report --scale digits`
    """
    from reclaim.inference.stale import marks
    from reclaim.inference.verdicts import judged, plan_of
    from reclaim.registry.claims import load_papers
    from reclaim.registry.jobs import RESULTS
    from reclaim.report.page import write_report
    from reclaim.report.terminal import print_table

    papers, plan = load_papers(), plan_of(scale, RESULTS)
    verdicts, measurements, quality = judged(scale, RESULTS, papers, plan)
    out = RESULTS / scale / "report.html"
    stale = marks(plan, papers, RESULTS)
    write_report(scale, verdicts, measurements, quality, papers, out, stale)
    print_table(verdicts, quality)
    print(out)
    _say_stale(plan)


def _refuse_both(run: str | None) -> None:
    if run is not None:
        raise ReclaimError("name a run, or a recipe with --recipe, and not both")


def _planned(scale: str | None, sweeps: bool) -> Plan:
    from reclaim.registry.jobs import read_plan

    return read_plan(scale or "digits", sweeps)


def _measured_by(plan: Plan, recipe: str, protocols: list[str]) -> dict[str, list[str]]:
    """A recipe's runs that have any of these protocols, with those of them that each has.

    With none given all runs, each with no word of protocols: that means all it has. Raises
    ReclaimError for a protocol that no run of the recipe has.
    """
    from reclaim.registry.jobs import measures, runs_of

    planned = {run.id: measures(plan, run) for run in runs_of(plan, recipe)}
    known = dict.fromkeys(name for names in planned.values() for name in names)
    if unknown := [name for name in protocols if name not in known]:
        raise ReclaimError(
            f"no run of {recipe} in plan {plan.scale!r} has protocol {unknown[0]!r}; "
            f"planned: {', '.join(known)}"
        )
    found = {run: [name for name in protocols if name in names] for run, names in planned.items()}
    return {run: names for run, names in found.items() if names or not protocols}


def _side_by_side(
    verb: str, scale: str, recipe: str, jobs: int, rows: Mapping[str, list[str]]
) -> None:
    """Runs of a recipe, each with its options, a process each, so many at once.

    A signal to this process reaches them. Raises ReclaimError that counts the runs that failed;
    each has said why.
    """
    children: list[subprocess.Popen[str]] = []
    stopped: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.append(number)
        for child in children:
            child.terminate()

    def work(name: str) -> int:
        if stopped:
            return -stopped[0]
        command = [sys.argv[0], verb, name, "--scale", scale, *rows[name]]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
            children.append(child)
            if stopped:  # while it started: the signal found it not yet among the children
                child.terminate()
            for line in child.stderr or ():  # a line an epoch: bars would overwrite each other
                sys.stderr.write(line)
        return child.returncode

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # USR1: a scheduler's warning
        signal.signal(number, stop)
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        codes = list(pool.map(work, rows))
    if any(codes):
        raise ReclaimError(
            f"{sum(code != 0 for code in codes)} of {len(codes)} runs of {recipe} did not finish; "
            "start the same command again to go on"
        )


def _one(run: str | None, scale: str | None) -> tuple[Plan, Run]:
    from reclaim.registry.jobs import find_run

    if run is None:
        raise ReclaimError(
            "name a run, or a recipe with --recipe; `reclaim plan` lists the recipes"
        )
    return find_run(run, scale)


def _pretrain(name: str | None, scale: str | None, device: Device) -> None:
    from reclaim.registry import jobs

    plan, run = _one(name, scale)
    job, results = jobs.job_of(plan, run).pretrain, jobs.RESULTS / plan.scale
    data = jobs.data_hash(run.dataset)
    with jobs.alone(jobs.lock_path(results, run.id)):
        if jobs.finished_run(results, job, data) is not None:
            jobs.drop_checkpoints(results, run.id)
            print(f"{run.id}: already trained", file=sys.stderr)
            return
        jobs.check_init(plan, job, results)
        from reclaim.learning.gpu import gpu_for
        from reclaim.learning.preflight import check_device
        from reclaim.learning.train import pretrain

        jobs.check_unedited(job)
        check_device(device.value)
        with gpu_for(run.id, run.cost.memory_mib, device.value):
            pretrain(job, results, jobs.DATA, device.value, jobs.init_path(results, job))


def _evaluate(name: str | None, scale: str | None, device: Device, protocols: list[str]) -> None:
    from reclaim.registry import jobs

    plan, run = _one(name, scale)
    both = jobs.job_of(plan, run)
    planned = both.evaluate.protocols
    unknown = sorted(set(protocols) - set(planned))
    if unknown:
        raise ReclaimError(
            f"run {run.id} has no protocol {unknown[0]!r}; planned: {', '.join(planned)}"
        )
    for stage, part in jobs.parts_of(jobs.part_of(both.evaluate, protocols or planned)):
        if stage != jobs.REREAD:
            _measure(run, both.pretrain, part, stage, device)
            continue
        for reading in part.protocols:  # each under a lock of its own
            _measure(run, both.pretrain, jobs.part_of(part, [reading]), reading, device)


def _measure(
    run: Run, pretrained: PretrainJob, job: EvaluateJob, lock: str, device: Device
) -> None:
    """Measure under a lock of the run: that of a stage, or of a reading."""
    from reclaim.registry import jobs

    results = jobs.RESULTS / pretrained.config.scale
    with jobs.alone(jobs.lock_path(results, job.id, lock)):
        trained = jobs.finished_run(results, pretrained, jobs.data_hash(job.dataset.name))
        if trained and not jobs.unfinished(results, job, trained):
            for name in job.protocols:
                jobs.drop_checkpoints(results, f"{job.id}-{name}")
            print(f"{job.id}: already evaluated by {', '.join(job.protocols)}", file=sys.stderr)
            return
        from reclaim.learning.evaluate import evaluate
        from reclaim.learning.gpu import gpu_for
        from reclaim.learning.preflight import check_device

        jobs.check_unedited(job)
        check_device(device.value)
        with gpu_for(run.id, run.cost.memory_mib, device.value):
            evaluate(pretrained, jobs.longest_last(job), results, jobs.DATA, device.value)


if __name__ == "__main__":
    main()
