"""What every paper's claims must fit, and what liu2024 and dong2023 say."""

import csv
import io
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import pytest

from reclaim.registry.claims import Difference, Paper, Value, exact, half_width, load_papers
from reclaim.registry.claims.names import setting
from reclaim.registry.datasets import DATASETS
from reclaim.registry.recipes import KNOBS, RECIPES, knobs_of

CLAIMS = Path(__file__).parents[2] / "workflow" / "claims"
PAPERS = ("dong2023", "dong2024", "liu2024")
OURS = ("simclr_enlarge", "simclr_dino_enlarge")
LIU = ("simclr", "moco_v2", "simclr_dino", *OURS)


@pytest.fixture(scope="module")
def papers() -> dict[str, Paper]:
    return load_papers(CLAIMS)


@pytest.fixture
def paper(papers: dict[str, Paper], request: pytest.FixtureRequest) -> Paper:
    return papers[request.param]


@pytest.fixture
def liu(papers: dict[str, Paper]) -> Paper:
    return papers["liu2024"]


@pytest.fixture
def psm(papers: dict[str, Paper]) -> Paper:
    return papers["dong2023"]


each_paper = pytest.mark.parametrize("paper", PAPERS, indirect=True)

# --- every paper ---------------------------------------------------------------------------------


def test_all_papers_are_there(papers: dict[str, Paper]) -> None:
    assert tuple(papers) == PAPERS
    sizes = {
        name: (len(paper.tables), len(list(paper.cells())), len(paper.statements))
        for name, paper in papers.items()
    }
    assert sizes == {"dong2023": (1, 3, 1), "dong2024": (5, 96, 16), "liu2024": (4, 46, 57)}


@each_paper
def test_the_claims_name_the_registry(paper: Paper) -> None:
    for claim in paper.cells():
        assert claim.recipe in RECIPES and claim.dataset in DATASETS
        assert claim.evaluation in ("linear", "fine_tune") and claim.metric in ("top1", "top5")
        assert set(claim.knobs) <= set(knobs_of(claim.recipe))


@each_paper
def test_a_protocol_gives_a_recipe_only_knobs_that_it_has(paper: Paper) -> None:
    for value in paper.protocol:
        kind, _, knob = value.path.partition(".")
        if kind == "knobs":
            assert knob in KNOBS and value.when.recipes, value.path
            for recipe in value.when.recipes:
                assert knob in knobs_of(recipe), (value.path, recipe)


@each_paper
def test_a_protocol_gives_a_twin_only_to_recipes_that_have_one(paper: Paper) -> None:
    for value in paper.protocol:
        if value.path.startswith("twin."):
            assert value.when.recipes, value.path
            for recipe in value.when.recipes:
                assert RECIPES[recipe].twin is not None, (value.path, recipe)
                assert RECIPES[recipe].queue or value.path not in ("twin.queue", "twin.mask_own")


@each_paper
def test_the_ledger_and_the_protocol_agree(paper: Paper) -> None:
    """What a divergence decides is in the protocol, and its default is the protocol's value."""
    for name, divergence in paper.divergences.items():
        values = defaultdict(list)
        for value in paper.protocol:
            values[value.path].append(value.value)
        assert set(divergence.paths) <= set(values), name
        if divergence.paths and isinstance(divergence.default, bool | int | float):
            assert divergence.default in [v for path in divergence.paths for v in values[path]]


@each_paper
def test_a_paper_survives_the_round_trip(paper: Paper) -> None:
    assert Paper.model_validate(paper.model_dump()) == paper
    assert Paper.model_validate_json(paper.model_dump_json()) == paper
    for name, table in paper.tables.items():
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", *table.columns])
        writer.writerows([row, *cells.values()] for row, cells in table.cells.items())
        assert text.getvalue() == (CLAIMS / paper.id / "tables" / f"{name}.csv").read_text()


def test_every_kind_of_source_is_used(papers: dict[str, Paper]) -> None:
    sources = {name: {value.source for value in paper.protocol} for name, paper in papers.items()}
    assert sources["dong2024"] == {"printed", "released-code", "inferred", "assumed"}
    assert sources["liu2024"] == {"printed", "inferred", "assumed"}  # no code was released
    assert "printed" not in sources["dong2023"]  # of which only the abstract was there


@pytest.mark.parametrize(
    ("path", "known"),
    [("twin.queue", True), ("twin.schedule", True), ("twin", False), ("queue", False),
     ("network.head_out_norm", True), ("network.head.size", False), ("local_views", True),
     ("evaluate.fine_tune.lr", True), ("evaluate.fine_tune.standardise", False)],
)  # fmt: skip
def test_the_paths_of_a_run_are_known(path: str, known: bool) -> None:
    assert (setting(path) is not None) is known


# --- liu2024 -------------------------------------------------------------------------------------


def test_liu_prints_four_tables(liu: Paper) -> None:
    shapes = {name: (len(table.rows), len(table.columns)) for name, table in liu.tables.items()}
    assert shapes == {"table1": (6, 2), "table2": (6, 2), "table3": (4, 2), "table4": (7, 2)}
    assert liu.printed("table1[top1,simclr_ft]") == "75"  # and not 75.00
    assert liu.printed("table2[top1,ours_le]") == "59.9"
    assert liu.printed("table4[top5,0.25]") == "77.6"
    for claim in liu.cells():
        if claim.metric == "top1":
            top5 = claim.cell.replace("top1", "top5")
            assert exact(claim.printed) < exact(liu.printed(top5)) < 100


def test_liu_systems_map_to_recipes_and_evaluations(liu: Paper) -> None:
    found = {claim.cell: (claim.recipe, claim.evaluation) for claim in liu.cells()}
    for table in ("table1", "table2"):
        for row, evaluation in (("le", "linear"), ("ft", "fine_tune")):
            assert found[f"{table}[top1,simclr_{row}]"] == ("simclr", evaluation)
            assert found[f"{table}[top1,moco_{row}]"] == ("moco_v2", evaluation)
            assert found[f"{table}[top1,ours_{row}]"] == ("simclr_dino_enlarge", evaluation)
    modules = [found[f"table3[top5,{row}]"] for row in ("f_f", "t_f", "f_t", "t_t")]
    assert modules == [
        (recipe, "fine_tune")
        for recipe in ("simclr", "simclr_dino", "simclr_enlarge", "simclr_dino_enlarge")
    ]


def test_liu_tables_1_3_and_4_share_runs(liu: Paper) -> None:
    """The threshold 0.75 is the protocol's, so its row is Table 1's and Table 3's system."""
    entities = {claim.cell: claim.entity for claim in liu.cells()}
    for column in ("top1", "top5"):
        ours = entities[f"table1[{column},ours_ft]"]
        assert entities[f"table3[{column},t_t]"] == ours == entities[f"table4[{column},0.75]"]
        assert entities[f"table3[{column},f_f]"] == entities[f"table1[{column},simclr_ft]"]
    assert len(set(entities.values())) == 46 - 6
    runs = {(claim.recipe, str(claim.knobs), claim.dataset) for claim in liu.cells()}
    assert len(runs) == 8 + 6  # 5 recipes on CIFAR-10, 3 on CIFAR-100, 6 other thresholds


def test_liu_prints_two_numbers_for_one_system_once(liu: Paper) -> None:
    seen = defaultdict(set)
    for claim in liu.cells():
        seen[claim.entity].add(claim.printed)
    twice = {entity: numbers for entity, numbers in seen.items() if len(numbers) > 1}
    assert list(twice.values()) == [{"82.25", "85.42"}]
    assert {(entity[0], entity[3], entity[4]) for entity in twice} == {
        ("simclr", "fine_tune", "top5")
    }


def test_liu_numbers_of_the_text_are_those_of_the_tables(liu: Paper) -> None:
    values = [said for said in liu.statements.values() if isinstance(said, Value)]
    assert len(values) == 8
    for said in values:
        assert liu.printed(said.cell) == said.printed


def misses(liu: Paper, said: Difference, relative: bool) -> bool:
    """Whether a printed difference is not that of the two printed cells, rounded."""
    first, second = exact(liu.printed(said.minuend)), exact(liu.printed(said.subtrahend))
    share = 100 / second if relative else Fraction(1)
    return abs((first - second) * share - exact(said.printed)) > half_width(said.printed)


def test_liu_differences_are_entered_as_they_are_worded(liu: Paper) -> None:
    said = {name: s for name, s in liu.statements.items() if isinstance(s, Difference)}
    assert len(said) == 24
    relative = {name: s.unit == "relative_percent" for name, s in said.items()}
    assert relative == {name: (s.word or "").startswith("relative") for name, s in said.items()}
    wrong = {name for name, s in said.items() if misses(liu, s, relative[name])}
    assert wrong == {"s344_c10_tuned_simclr_top1_second", "s344_c10_tuned_simclr_top5_first"}
    for name in wrong:  # the paper's slip: each fits the other way
        assert not misses(liu, said[name], not relative[name])
    assert {s.group for s in (said[name] for name in wrong)} == {"s344_c10_tuned_simclr"}


def test_liu_orders_hold_in_print(liu: Paper) -> None:
    for name, said in liu.statements.items():
        for greater, lesser in said.pairs:
            assert exact(liu.printed(greater)) > exact(liu.printed(lesser)), name


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
@pytest.mark.parametrize("recipe", LIU)
def test_liu_settings_of_a_run(liu: Paper, recipe: str, dataset: str) -> None:
    settings = liu.settings(recipe, dataset)
    assert (settings["optimiser.name"], settings["optimiser.lr"]) == ("lars", 0.001)
    assert (settings["batch"], settings["epochs"]) == (96, 200)
    assert settings["temperature"] == (0.1 if recipe == "moco_v2" else 0.5)
    knobs = {path[6:]: value for path, value in settings.items() if path.startswith("knobs.")}
    ours = {"threshold": 0.75, "delta": 0.5, "unit_interval": False}
    assert knobs == (ours if recipe in OURS else {})
    twin = {path[5:]: value for path, value in settings.items() if path.startswith("twin.")}
    assert bool(twin) == (recipe == "moco_v2")
    if twin:
        assert twin["queue"] % 96 == 0
        assert abs(twin["queue"] - 4096) == min(4096 % 96, 96 - 4096 % 96)


def test_liu_printed_values_are_few(liu: Paper) -> None:
    printed = {value.path for value in liu.protocol if value.source == "printed"}
    assert {path for path in printed if not path.startswith("facts")} == {
        "network.arch", "network.head", "network.head_norm", "knobs.threshold", "knobs.delta",
        "optimiser.name", "optimiser.lr", "optimiser.weight_decay", "epochs", "batch",
    }  # fmt: skip
    readings = {value.path: [r.value for r in value.readings] for value in liu.protocol}
    assert readings["optimiser.trust"] == [0.02, 1.0]
    stem = {name: liu.protocol_of(name, "cifar10")["network.stem"] for name in RECIPES}
    assert [reading.value for reading in stem["simclr"].readings] == ["cifar"]
    assert not stem["simclr_dino"].readings, "its weights would not fit"


@pytest.mark.parametrize("recipe", ["simclr_dino", "simclr_dino_enlarge", *LIU[:2], LIU[3]])
def test_liu_starts_from_dino_where_the_recipe_does(liu: Paper, recipe: str) -> None:
    weights = liu.protocol_of(recipe, "cifar10")["facts.init.weights"].value
    assert ("DINO" in weights) == (RECIPES[recipe].init == "dino")


# --- dong2023 ------------------------------------------------------------------------------------


def test_psm_prints_three_numbers(psm: Paper) -> None:
    assert {claim.dataset: claim.printed for claim in psm.cells()} == {
        "cifar10": "88.57", "cifar100": "61.10", "tiny_imagenet": "36.69"
    }  # fmt: skip
    assert {(claim.recipe, claim.evaluation, claim.metric) for claim in psm.cells()} == {
        ("psm_released", "linear", "top1")
    }


@pytest.mark.parametrize("recipe", ["psm_released", "psm_soft"])
def test_psm_settings_are_the_released_ones(psm: Paper, recipe: str) -> None:
    settings = psm.settings(recipe, "cifar10")
    assert settings["optimiser.weight_decay"] == 0.001
    assert (settings["twin.momentum"], settings["twin.queue"]) == (0.99, 16_384)
    assert settings["network.head_norm"] and settings["network.head_out_norm"]
    knobs = {path[6:]: value for path, value in settings.items() if path.startswith("knobs.")}
    assert knobs == {"neighbours": 5, "sharpness": 0.5, "shift": 0.0}
    assert psm.divergences["weighting"].readings[0].source == "released-code"
    assert "soft" in psm.divergences["weighting"].readings[1].value


SHARED = (
    "views", "replacement", "batch", "network.stem", "optimiser.lr", "evaluate.linear.views",
    "evaluate.linear.test_views", "evaluate.linear.replacement", "evaluate.linear.lr",
)  # fmt: skip


def test_psm_shares_the_loaders_of_sscl(papers: dict[str, Paper]) -> None:
    """The two repositories have the same data code, so the same values must stand in both."""
    for dataset in ("cifar10", "cifar100", "tiny_imagenet"):
        psm = papers["dong2023"].settings("psm_released", dataset)
        sscl = papers["dong2024"].settings("moco_v2", dataset)
        assert {path for path in SHARED if psm[path] != sscl[path]} == set()
