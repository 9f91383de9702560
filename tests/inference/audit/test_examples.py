"""The worked examples in the docstrings of the audit."""

import doctest
import importlib
import pkgutil

import pytest

from reclaim.inference import audit

MODULES = sorted(module.name for module in pkgutil.iter_modules(audit.__path__))
# Over papers: their arithmetic is in other modules.
ADAPTERS = {"arithmetic", "cases", "gap", "protocol"}


@pytest.mark.parametrize("name", MODULES)
def test_every_example_is_right(name: str) -> None:
    module = importlib.import_module(f"reclaim.inference.audit.{name}")
    found = doctest.testmod(module)
    assert found.failed == 0
    assert found.attempted or name in ADAPTERS
