"""What tests of bundles share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reclaim.records import write
from reclaim.registry import bundle
from tests.registry import made_results


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A scale's results and a copy of them, both with their bundle; one may be changed."""
    monkeypatch.chdir(tmp_path)
    results = made_results.write_results(tmp_path)
    write(results / bundle.BUNDLE, bundle.make(made_results.SCALE, results))
    shutil.copytree(results, tmp_path / "copy")
    return results, tmp_path / "copy"
