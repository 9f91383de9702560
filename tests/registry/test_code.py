"""A run depends on the code its row names, and on no other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reclaim.records import ReclaimError
from reclaim.registry import code
from reclaim.registry.recipes import RECIPES
from tests.conftest import tiny_config

PAIRED = {name for name, row in RECIPES.items() if any(term.pairing for term in row.terms)}
ENLARGED = {"simclr_enlarge", "simclr_dino_enlarge"}
HARDENED = {"hcl", "sscl", "sscl_released", "moco_sscl_sampling", "moco_sscl"}
SYNTHETIC = {name for name in RECIPES if name.startswith("sscl")} | {
    "mochi", "moco_sscl_synthesis", "moco_sscl"
}  # fmt: skip
QUEUED = {"moco_v1", "moco_v2", "mochi", "moco_sscl_synthesis", "moco_sscl_sampling", "moco_sscl"}
PSM = {"psm_released", "psm_soft"}
TWINS = QUEUED | PSM | {"byol", "dino"}
MEASURED = set(code.MEASURES)
DEBIASED = {"dcl", "sscl_synthesis_debias"}


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Edit a copy of `learning` that the hashes are taken of."""
    folder = tmp_path / "learning"
    shutil.copytree(code.LEARNING, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "LEARNING", folder)

    def change(name: str, old: str, new: str) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
        code._stripped.cache_clear()

    return change


def hashes() -> dict[str, str]:
    """The code hash of every recipe, and of every kind of evaluation."""
    code._stripped.cache_clear()
    pretrain = {name: code.pretrain_code(tiny_config(name)) for name in RECIPES}
    return pretrain | {kind: code.evaluate_code(kind) for kind in code.MEASURES}


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("steps.py", "weight = (share *", "weight = (2 * share *", HARDENED),
        ("steps.py", "prior=prior)", "prior=prior / 2)", HARDENED | DEBIASED),
        ("steps.py", "alpha * made + (1 - alpha)", "alpha * made - (1 - alpha)", SYNTHETIC),
        ("steps.py", "second = torch.randint(", "second = torch.randint(1 + ", SYNTHETIC),
        ("objectives.py", "/ (1 - c.prior)", "/ (2 - c.prior)", PAIRED),
        ("objectives.py", "cross_entropy(logits", "cross_entropy(-logits", {"supervised"}),
        ("objectives.py", "return 2 - 2 *", "return 2 - 3 *", {"byol"}),
        ("objectives.py", "/ teacher_temperature", "* teacher_temperature", {"dino"}),
        ("candidates.py", "w_neg[own, own] = 0", "w_neg[own, own] = 1", PAIRED - QUEUED),
        ("candidates.py", "neg = query @ bank.T", "neg = -query @ bank.T", QUEUED),
        ("candidates.py", "neighbours + 1", "neighbours + 2", PSM),
        ("steps.py", "draws < chance", "draws > chance", PSM),
        ("steps.py", "device=device) / 2", "device=device) / 3", {"mochi"}),
        ("steps.py", "s - delta, s)", "s + delta, s)", ENLARGED),
        ("twin.py", "share = 1 - momentum", "share = 2 - momentum", TWINS),
        ("losses.py", "term.weight * term_loss", "2 * term.weight * term_loss", set(RECIPES)),
        ("train.py", "COLLAPSED = 1e-4", "COLLAPSED = 1e-3", set(RECIPES)),
        ("nets.py", "widths[0], 3,", "widths[0], 5,", {*RECIPES, *MEASURED}),
        ("frozen.py", "CHUNK = 500", "CHUNK = 501", MEASURED),
        ("objectives.py", "y, cross_entropy", "y, nll_loss as cross_entropy", {"supervised"}),
        ("steps.py", "nal import normalize", "nal import softmax as normalize", SYNTHETIC),
        ("probe.py", "std=0.01", "std=0.02", {"linear"}),
        ("probe.py", "import cross_entropy", "import nll_loss as cross_entropy", {"linear"}),
        ("evaluate.py", "return knn_scores(frozen, protocol)", "return frozen.embed()", MEASURED),
        ("fitting.py", "p.momentum", "0.9", {"linear", "fine_tune"}),
        ("knn.py", ".topk(neighbours", ".topk(1 + neighbours", {"knn"}),
        ("geometry.py", "- own) / pairs", "+ own) / pairs", {"geometry"}),
        ("evaluate.py", '(table["rank"] <= k)', '(table["rank"] < k)', MEASURED),
        ("finetune.py", "std=0.01", "std=0.02", {"fine_tune"}),
        ("losses.py", "in-batch losses: ", "losses: ", set()),
    ],
)  # fmt: skip
def test_an_edit_makes_stale_exactly_the_runs_that_use_it(
    edit: Callable[[str, str, str], None], file: str, old: str, new: str, stale: set[str]
) -> None:
    before = hashes()
    edit(file, old, new)
    after = hashes()
    assert {name for name in before if before[name] != after[name]} == stale


def test_comments_docstrings_and_layout_do_not_count(
    edit: Callable[[str, str, str], None],
) -> None:
    before = hashes()
    edit("steps.py", "    c = candidates\n", "    # a comment\n    c   =   candidates\n")
    edit("objectives.py", '"""The contrastive loss', '"""Another text: the contrastive loss')
    assert hashes() == before


def test_a_new_step_and_a_new_recipe_make_nothing_stale(
    edit: Callable[[str, str, str], None],
) -> None:
    before = hashes()
    edit(
        "steps.py", "def debias(", "def fresh(candidates):\n    return candidates\n\n\ndef debias("
    )
    assert hashes() == before


def test_a_step_that_is_not_there_is_named(edit: Callable[[str, str, str], None]) -> None:
    edit("steps.py", "def harden(", "def hardened(")
    code._stripped.cache_clear()
    with pytest.raises(ReclaimError, match=r"steps.py: defines no 'harden'"):
        code.pretrain_code(tiny_config("hcl"))


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("def debias(c:", r"steps\.py:\d+: .*; mend the file"),
        ("\0def debias(", r"steps\.py.*: source code .* null bytes; mend the file"),
    ],
)
def test_a_file_that_is_not_python_is_named_with_its_line(
    edit: Callable[[str, str, str], None], new: str, said: str
) -> None:
    edit("steps.py", "def debias(", new)
    with pytest.raises(ReclaimError, match=said) as error:
        code.pretrain_code(tiny_config("dcl"))
    assert "\n" not in str(error.value)


def test_how_imports_are_grouped_does_not_count_and_what_names_nothing_belongs_to_all(
    edit: Callable[[str, str, str], None],
) -> None:
    before = hashes()
    one, two = "import cosine_similarity", "from torch.nn.functional import cross_entropy"
    edit("objectives.py", f"{one}, cross_entropy", f"{one}\n{two}")
    assert hashes() == before
    for loose in ("torch.manual_seed(0)", "torch.backends.cudnn.benchmark = True"):
        before = hashes()
        edit("objectives.py", "\n\n\ndef contrast", f"\n\n{loose}\n\n\ndef contrast")
        assert {name for name, code in hashes().items() if code != before[name]} == set(RECIPES)


@pytest.mark.parametrize(
    ("text", "root", "kept"),
    [
        (
            "import a.b\nimport a.c\nimport d\ndef f(): a",
            "f",
            ("import a.b", "import a.c", "def f"),
        ),
        ("from a import b, c\ndef f(): c", "f", ("from a import c", "def f")),
        ("T = {}\nT['x'] = 1\ndef f(): T\ng()", "f", ("T = {}", "T['x'] = 1", "def f", "g()")),
        ("x = [y for y in z]\ny = 1\nz = 2\ndef f(): x", "f", ("x = ", "y = 1", "z = 2", "def f")),
        ("f()\ng = 1; h()\ndef f(): pass", "f", ("f()", "h()", "def f")),
        ("a: int = 1\nb, (c, d) = a, (1, 2)\nf = d", "f", ("a: int", "b, (c, d)", "f = d")),
    ],
)
def test_a_definition_brings_all_that_binds_what_it_names(
    text: str, root: str, kept: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "module.py").write_text(text, encoding="utf-8")
    lines = [
        line
        for line in code.definitions(tmp_path / "module.py", [root]).splitlines()
        if not line.startswith(" ")
    ]
    assert len(lines) == len(kept)
    assert all(line.startswith(start) for line, start in zip(lines, kept, strict=True))
