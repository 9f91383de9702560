"""The command line: every verb helps with an example; a fault is one line and exit status 2."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from reclaim import cli
from reclaim.records import ReclaimError, SeedsWanted, StandIn, write
from reclaim.registry import jobs
from reclaim.registry.jobs import committed_plan
from tests.conftest import tiny_config
from tests.registry import made_results
from tests.registry.made_results import PLAN, RUNS, SCALE

RECLAIM = Path(sys.executable).parent / "reclaim"
VERBS = (
    "plan", "resolve", "pretrain", "evaluate", "gather", "judge", "report", "bundle", "verify",
    "compare", "clean",
)  # fmt: skip


@pytest.mark.parametrize("verb", [*VERBS, "fetch data", "fetch weights"])
def test_every_verb_shows_an_example(verb: str) -> None:
    shown = CliRunner().invoke(cli.app, [*verb.split(), "--help"])
    assert shown.exit_code == 0
    assert f"Example: reclaim {verb}" in shown.output


def test_outside_of_a_project_nothing_is_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, ["clean"])
    assert "run reclaim in the project's top folder" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("pretrain --jobs 0", "'--jobs': Input should be greater than or equal to 1 (reclaim pre"),
        ("pretrain --job 2", "No such option: --job (Possible options: --jobs) (reclaim pretrain"),
        ("pretrian", "No such command 'pretrian'. Did you mean 'pretrain'? (reclaim --help)"),
        ("plan --scale", "Option '--scale' requires an argument. (reclaim --help)"),
        ("plan --scale digist", "unknown scale 'digist'; known: digits, fashion, paper"),
        ("plan --extend", "results/digits/seeds_wanted.json: not found; run `reclaim judge"),
        ("plan --extend --scale digist", "unknown scale 'digist'; planned: digits, fashion, paper"),
        ("plan --extend --check", "--seeds goes with --extend, and --check with neither"),
        ("plan --seeds 9", "--seeds goes with --extend, and --check with neither"),
        ("resolve --scale digist", "unknown scale 'digist'; planned: digits, fashion, paper"),
        ("resolve --scale digits.sweeps", "unknown scale 'digits.sweeps'; planned: digits"),
        ("fetch data digist", "digits"),
        (
            "fetch weights dino_resnet",
            "weights 'dino_resnet' are not known; did you mean dino_resnet50? known:",
        ),
        ("pretrain", "name a run, or a recipe with --recipe"),
        ("evaluate a b", "one run at a time, not a, b; or name a --recipe"),
        ("pretrain --recipe simclr --scale digist", "unknown scale 'digist'"),
        ("pretrain x --recipe simclr", "and not both"),
        ("pretrain simclr-digits-s0", "unknown run 'simclr-digits-s0': did you mean simclr-digits"),
        ("pretrain --recipe simclrr", "no recipe 'simclrr' in plan 'digits'; it has: simclr"),
        ("evaluate --recipe simclr --protocol lin", "unknown protocol 'lin'; known: linear, knn"),
        (
            "evaluate --recipe simclr --scale paper --protocol linear linear-encoder",
            "no run of simclr in plan 'paper' has protocol 'linear-encoder'; planned: linear, knn",
        ),
        ("gather --scale digist", "unknown scale 'digist'"),
        ("evaluate x --recipe simclr", "and not both"),
        ("judge --scale digist", "unknown scale 'digist'"),
        ("report --scale digist", "unknown scale 'digist'"),
        ("bundle", "results/digits/measurements.csv: not readable"),
        ("clean --scale digist", "unknown scale 'digist'"),
        ("compare a b", "a/bundle.json: not found"),
        ("verify a", "a/bundle.json: not found; get the file again, or run `reclaim bundle`"),
        ("verify a --scale digits", "name a folder to check its bundle, or a --scale"),
        (
            "verify --scale paper",
            "results/data/cifar10/manifest.json: not found; run `reclaim fetch",
        ),
    ],
)
def test_a_fault_is_one_line_and_status_2(arguments: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "workflow").symlink_to(Path("workflow").resolve())
    done = subprocess.run(
        [RECLAIM, *arguments.split()], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("reclaim: ")
    assert words in line
    assert [path.name for path in tmp_path.iterdir()] in (["workflow"], ["workflow", "results"])


def test_an_interrupted_command_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "resolve", interrupt)
    monkeypatch.setattr(sys, "argv", ["reclaim", "resolve"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    said = "reclaim: interrupted; start the same command again to go on\n"
    assert capsys.readouterr() == ("", said)


def test_without_arguments_the_help_is_all_that_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reclaim"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    shown = capsys.readouterr()
    assert (end.value.code, shown.err) == (2, "")
    assert "Usage: reclaim" in shown.out


def test_plan_adds_the_seeds_that_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workflow").symlink_to(Path("workflow").resolve())
    monkeypatch.chdir(tmp_path)
    committed = {path: path.read_bytes() for path in Path("workflow/plans").iterdir()}
    run = next(run for run in committed_plan("digits").runs if run.recipe == "simclr_dino")
    wanted = SeedsWanted(scale="digits", configs={run.config: 5})
    write(Path("results/digits/seeds_wanted.json"), wanted)
    shown = CliRunner().invoke(cli.app, ["plan", "--extend"])
    assert shown.exit_code == 0
    assert "results/digits/plan.json: 4 runs beside the committed plan" in shown.output
    assert {path: path.read_bytes() for path in committed} == committed
    shown = CliRunner().invoke(cli.app, ["resolve"])
    assert Path(f"results/digits/jobs/simclr_dino/{run.config}-s4.json").is_file()
    wanted = SeedsWanted(scale="fashion", configs={})
    write(Path("results/fashion/seeds_wanted.json"), wanted)
    shown = CliRunner().invoke(cli.app, ["plan", "--extend", "--scale", "fashion"])
    assert shown.output == "no claim wants more runs than are planned\n"


FIRST, NEXT = (run.id for run in RUNS[:2])
OTHER = tiny_config("simclr", epochs=3)
ALONE = RUNS[0].model_copy(update={"id": "simclr-digits-00000000-s0", "config": "other"})
READINGS = {f"evaluate.knn.neighbours={n}": f"knn-{n}" for n in (2, 3)}
REREAD = [f"knn-neighbours-{n}" for n in (2, 3)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two finished runs are to be measured under two readings; one of another config is not."""
    knn = PLAN.protocols["knn-1"]
    config = RUNS[0].config
    more = {
        "runs": (*RUNS[:2], ALONE),
        "configs": {**PLAN.configs, ALONE.config: OTHER},
        "protocols": {**PLAN.protocols, **dict.fromkeys(READINGS.values(), knn)},
        "readings": {
            config: {r: StandIn(config=config, protocols=(p,)) for r, p in READINGS.items()}
        },
    }
    monkeypatch.chdir(tmp_path)
    made_results.write_results(tmp_path)
    write(jobs.plan_path(SCALE), PLAN.model_copy(update=more))


@pytest.mark.usefixtures("project")
def test_every_reading_is_measured_under_a_lock_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from reclaim.learning import evaluate

    seen: list[tuple[set[str], list[str]]] = []
    held: set[str] = set()

    @contextmanager
    def alone(lock: Path) -> Iterator[None]:
        held.add(lock.stem)
        yield
        held.remove(lock.stem)

    monkeypatch.setattr(jobs, "alone", alone)
    monkeypatch.setattr(jobs, "finished_evaluations", lambda *_: {})
    monkeypatch.setattr(
        evaluate, "evaluate", lambda _, job, *__: seen.append((set(held), [*job.protocols]))
    )
    cli.evaluate([FIRST], device=cli.Device.cpu)
    assert seen == [
        ({FIRST}, ["knn", "geometry"]),
        *(({f"{FIRST}-{name}"}, [name]) for name in REREAD),
    ]
    seen.clear()
    cli.evaluate([FIRST, REREAD[1]], device=cli.Device.cpu)
    assert seen == [({f"{FIRST}-{REREAD[1]}"}, [REREAD[1]])]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ([], {FIRST: [], NEXT: [], ALONE.id: []}),
        ([REREAD[1]], {FIRST: [REREAD[1]], NEXT: [REREAD[1]]}),
        (
            ["knn", REREAD[0]],
            {FIRST: ["knn", REREAD[0]], NEXT: ["knn", REREAD[0]], ALONE.id: ["knn"]},
        ),
    ],
)
def test_runs_of_a_recipe_are_measured_by_what_they_have_of_the_protocols_asked_for(
    asked: list[str], found: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def start(command: list[str], **_: object) -> object:
        started.append(command[1:])
        return nullcontext(SimpleNamespace(stderr=None, returncode=0))

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    cli.evaluate(recipe="simclr", scale=SCALE, protocol=asked)
    assert started == [
        [
            "evaluate", run, "--scale", SCALE, "--device", "auto",
            *(word for name in names for word in ("--protocol", name)),
        ]
        for run, names in found.items()
    ]  # fmt: skip


@pytest.mark.usefixtures("project")
def test_a_run_that_was_starting_when_all_were_stopped_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, stop, stopped = signal.SIGTERM, dict[int, Callable[[int, None], None]](), list[str]()

    def start(command: list[str], **_: object) -> object:
        stop[asked](asked, None)
        child = SimpleNamespace(stderr=None, returncode=-asked)
        child.terminate = lambda: stopped.append(command[2])
        return nullcontext(child)

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(signal, "signal", stop.__setitem__)
    with pytest.raises(ReclaimError, match="3 of 3 runs of simclr did not finish; start the same"):
        cli.evaluate(recipe="simclr", scale=SCALE)
    assert stopped == [FIRST]


@pytest.mark.usefixtures("project")
def test_a_protocol_that_a_run_or_no_run_of_its_recipe_has_is_refused() -> None:
    with pytest.raises(ReclaimError, match=f"run {ALONE.id} has no protocol '{REREAD[0]}'"):
        cli.evaluate([ALONE.id, REREAD[0]])
    known = f"planned: knn, geometry, {', '.join(REREAD)}$"
    with pytest.raises(ReclaimError, match=f"no run of simclr .* protocol 'linear'; {known}"):
        cli.evaluate(["linear", "knn"], recipe="simclr", scale=SCALE)


def test_a_verb_that_needs_no_training_brings_no_torch() -> None:
    for verb in ("plan --check", "--help"):
        code = (
            f"import sys; sys.argv = ['reclaim', *{verb.split()!r}]\n"
            "from reclaim.cli import main\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
            "assert 'torch' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
