"""One small project a file: its tests are the chapters of one story, so runs are trained once."""

from __future__ import annotations

import pytest

from tests.workflow.project import RECIPES, Project


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With the recipes that the file names, if it does."""
    recipes = getattr(request.module, "STORY", RECIPES)
    return Project(tmp_path_factory.mktemp("project"), recipes)
