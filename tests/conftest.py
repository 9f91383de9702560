"""What several test folders share: a project folder of its own, and tiny runs on real digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reclaim.records import Config, PretrainJob
from reclaim.registry.plan import resolve_config


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole processes first: a file that takes minutes is no worker's last."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


TINY: dict[str, Any] = {
    "dataset.name": "digits",
    "dataset.subset": 70,
    "network.arch": "narrow",
    "network.stem": "stride1",
    "network.widths": [4, 8],
    "network.head_hidden": 8,
    "network.head_out": 8,
    "views": [
        {"op": "colour_jitter", "p": 0.8, "params": {"brightness": 0.4, "contrast": 0.4}},
        {"op": "random_resized_crop", "params": {"size": 8, "scale": [0.5, 1.0]}},
        {"op": "normalise", "params": {"mean": [0.3], "std": [0.4]}},
    ],
    "temperature": 0.5,
    "optimiser.lr": 0.1,
    "optimiser.warmup_epochs": 1,
    "optimiser.warmup_lr": 0.01,
    "epochs": 3,
    "batch": 16,
    "precision": "float32",
    "network.predictor_hidden": 8,
    "twin.momentum": 0.9,
    "twin.queue": 32,
}
DINO: dict[str, Any] = {
    "network.head_norm": True,
    "network.prototypes": 16,
    "temperature": 0.1,
    "twin.centre_momentum": 0.9,
    "local_crops": 2,
    "local_views": [
        {"op": "random_resized_crop", "params": {"size": 6, "scale": [0.2, 0.6]}},
        {"op": "normalise", "params": {"mean": [0.3], "std": [0.4]}},
    ],
}
# Views whose float32 arithmetic is the same on every CPU with AVX2 or better: nothing is summed.
EXACT: list[dict[str, Any]] = [
    {"op": "horizontal_flip", "p": 0.5},
    {"op": "colour_jitter", "p": 0.8, "params": {"brightness": 0.4}},
    {"op": "normalise", "params": {"mean": [0.3], "std": [0.4]}},
]
CROPS = [{"op": "centre_crop", "params": {"size": 6}}, *EXACT]


def tiny_config(recipe: str, **changes: Any) -> Config:
    """A config of seconds; `changes` by dotted path, with __ for the dot."""
    settings = TINY | (DINO if recipe == "dino" else {})
    settings |= {path.replace("__", "."): value for path, value in changes.items()}
    return resolve_config("tiny", recipe, settings)


def locked_config(recipe: str) -> Config:
    """What the regression locks train: twenty steps in float64."""
    changes: dict[str, Any] = {"precision": "float64", "epochs": 5, "views": EXACT}
    changes |= {"local_views": CROPS} if recipe == "dino" else {}
    changes |= {"optimiser__lr": 0.01} if recipe == "byol" else {}  # such plain views collapse
    return tiny_config(recipe, **changes)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds the digits."""
    from reclaim.learning.data import fetch_data

    root = tmp_path_factory.mktemp("data")
    fetch_data("digits", root)
    return root


@pytest.fixture
def tiny_job() -> Callable[..., PretrainJob]:
    """A job of a tiny run of a recipe."""

    def make(recipe: str, seed: int = 0, **changes: Any) -> PretrainJob:
        config = tiny_config(recipe, **changes)
        return PretrainJob(
            id=f"{recipe}-s{seed}", recipe=recipe, seed=seed, config=config, code="test"
        )

    return make
