"""The worked examples in the docstrings of the replication statistics."""

import doctest
import importlib
import pkgutil

import pytest

from reclaim.inference import replication

MODULES = sorted(module.name for module in pkgutil.iter_modules(replication.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_every_example_is_right(name: str) -> None:
    module = importlib.import_module(f"reclaim.inference.replication.{name}")
    found = doctest.testmod(module)
    assert found.failed == 0
    assert found.attempted
