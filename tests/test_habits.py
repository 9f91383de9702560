"""What keeps the project in order: dependencies, the direction of imports, randomness, start-up."""

import ast
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "reclaim"
MODULES = sorted(SOURCE.rglob("*.py"))
PYTHONS = ("3.11", "3.12", "3.13")
ENGINES = {"dvc", "snakemake"}  # called as programs, never imported

BELOW = {
    "__init__": {"learning"},  # `reclaim.loss`, imported when it is called
    "__main__": {"cli"},
    "cli": {"learning", "inference", "report", "registry", "records"},
    "learning": {"registry", "records"},
    "inference": {"registry", "records"},
    "report": {"registry", "records"},
    "registry": {"records"},
    "records": set(),
}
DISTRIBUTIONS = {  # where the name differs from the module's
    "PIL": "pillow",
    "pydantic_core": "pydantic",
    "sklearn": "scikit-learn",
    "vl_convert": "vl-convert-python",
    "yaml": "pyyaml",
}
DRAWS = {"bernoulli", "multinomial", "normal", "rand", "randint", "randn", "randperm"}


def project() -> dict:
    """The table `project` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def declared(*extras: str) -> list[Requirement]:
    """The direct requirements of the package and of some extras."""
    table = project()
    lines = [*table["dependencies"]]
    for extra in extras:
        lines += table["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def locked() -> dict[str, Requirement]:
    """What the lock pins, by canonical name; each pin with the hashes of its files."""
    text = (ROOT / "envs" / "requirements.lock").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert all("--hash=sha256:" in line for line in lines)
    pins = [Requirement(line.partition(" --hash")[0]) for line in lines]
    return {canonicalize_name(pin.name): pin for pin in pins}


def version(pin: Requirement) -> str:
    """The one version that a pin allows."""
    assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), f"{pin} is not pinned"
    return str(pin.specifier).removeprefix("==")


def part(path: Path) -> str:
    """The part of the package that a module belongs to: a folder or a top-level module."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """The absolute names of all modules that a module imports, anywhere in it."""
    package = path.relative_to(ROOT / "src" if SOURCE in path.parents else ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def distributions(paths: Iterable[Path]) -> set[str]:
    """The names, as on a package index, of what some modules import from elsewhere."""
    roots = {name.split(".")[0] for path in paths for name in imports(path)}
    foreign = roots - sys.stdlib_module_names - {"reclaim", "tests"}
    return {canonicalize_name(DISTRIBUTIONS.get(root, root)) for root in foreign}


# --- dependencies --------------------------------------------------------------------------------


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_pins_every_declared_dependency(python: str) -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    pins = locked()
    for requirement in [*declared("test", "lint"), *map(Requirement, build)]:
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version(pin)), f"{pin} does not fit {requirement}"
        assert pin.marker is None or pin.marker.evaluate({"python_full_version": f"{python}.0"})


def test_the_lock_names_no_host_and_no_place() -> None:
    text = (ROOT / "envs" / "requirements.lock").read_text()
    assert not re.search(r"://|^-|^\s*--(?!hash=)| @ |file:", text, re.MULTILINE)
    assert all(version(pin) for pin in locked().values())


def test_the_conda_environment_agrees_with_the_lock() -> None:
    environment = yaml.safe_load((ROOT / "envs" / "reclaim.yaml").read_text())
    python, pip, wheels = environment["dependencies"]
    assert python.removeprefix("python =") in PYTHONS
    assert pip == "pip"
    pins = locked()
    assert {str(Requirement(line)) for line in wheels["pip"]} == {
        f"{requirement.name}=={version(pins[canonicalize_name(requirement.name)])}"
        for requirement in declared()
        if requirement.name not in ENGINES
    }


def test_what_is_imported_is_declared() -> None:
    needed = distributions(MODULES)
    assert needed | ENGINES | {"pyarrow"} == {r.name for r in declared()}  # pandas' parquet
    tested = distributions((ROOT / "tests").rglob("*.py"))
    assert tested <= {canonicalize_name(r.name) for r in declared("test")}


# --- the direction of imports --------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    here = part(path)
    reached = {name.split(".")[1] for name in imports(path) if name.startswith("reclaim.")}
    upward = (reached & BELOW.keys()) - BELOW[here] - {here}
    assert not upward, f"{here} imports {sorted(upward)}"
    torch = {name for name in imports(path) if re.match(r"(torch|torchvision)\b", name)}
    assert here == "learning" or not torch, f"only learning imports torch: {sorted(torch)}"


def test_only_learning_brings_torch() -> None:
    names = sorted(
        ".".join(("reclaim", *path.relative_to(SOURCE).with_suffix("").parts))
        for path in MODULES
        if part(path) != "learning" and path.stem not in {"__init__", "__main__"}
    )
    assert "reclaim.cli" in names
    code = f"""
import importlib, sys
for name in {["reclaim", *names]}:
    importlib.import_module(name)
print(sorted({{"torch", "torchvision"}} & sys.modules.keys()))
"""
    python = [sys.executable, "-c", code]
    answer = subprocess.run(python, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


# --- randomness ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_draw_names_its_generator(path: Path) -> None:
    assert "random" not in set(imports(path)), "the global generator of `random`"
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in DRAWS
            and ast.unparse(node.func.value) == "torch"
        ):
            given = {keyword.arg for keyword in node.keywords}
            assert "generator" in given, f"{path}:{node.lineno} draws without a generator"


# --- the rest ------------------------------------------------------------------------------------


def test_the_citation_knows_the_version_and_the_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project()["version"]
    assert citation["license"] == project()["license"]


def test_a_working_snakemake_holds_its_folder(tmp_path: Path) -> None:
    holders = runpy.run_path(str(ROOT / "workflow" / "unlock.py"))["holders"]
    program = tmp_path / "bin" / "snakemake"
    program.parent.mkdir()
    program.write_text("import time\nprint(flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, program, "--cores", "all"], cwd=tmp_path, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.pid in holders(tmp_path)
        assert process.pid not in holders(tmp_path / "bin")
        process.kill()
    assert process.pid not in holders(tmp_path)


@pytest.mark.parametrize(
    ("cwd", "program", "holds"),
    [
        (None, "snakemake", True),
        (None, "make", False),
        ("/", "snakemake", False),
    ],
)
def test_a_snakemake_whose_folder_cannot_be_read_counts(
    cwd: str | None, program: str, holds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of another user."""
    process = SimpleNamespace(pid=1, info={"cwd": cwd, "cmdline": ["python", f"/bin/{program}"]})
    monkeypatch.setattr("psutil.process_iter", lambda _: [process])
    holders = runpy.run_path(str(ROOT / "workflow" / "unlock.py"))["holders"]
    assert holders(tmp_path) == [1] * holds
