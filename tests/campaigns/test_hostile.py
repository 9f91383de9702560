"""Every hostile input is refused in one line; none gets out, runs code or fills memory or disk."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reclaim import records
from reclaim.learning.data import untrusted
from tests.campaigns.hostile import Attack, corpus, engines, tried

CORPUS = list(corpus())


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.mark.parametrize("attack", CORPUS, ids=lambda attack: f"{attack.kind}-{attack.name[:40]}")
def test_it_is_repelled(attack: Attack, tmp_path: Path) -> None:
    result = tried(attack, tmp_path)
    assert result.repelled(attack), result


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ("Snakemake", "a scale that climbs"),
        ("DVC", "a scale that climbs"),
        ("DVC", "a scale with a command"),
    ],
)
def test_settings_that_name_no_scale_are_repelled(engine: str, name: str, tmp_path: Path) -> None:
    [attack] = [a for a in engines() if a.name == name and engine in a.kind]
    result = tried(attack, tmp_path)
    assert result.repelled(attack), result


def test_the_corpus_is_large_and_every_attack_in_it_another() -> None:
    assert len({(attack.kind, attack.name) for attack in CORPUS}) == len(CORPUS) >= 60


def test_an_attack_that_succeeds_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The corpus is no better than its eyes: with the guard gone its attacks are not repelled."""
    monkeypatch.setattr(untrusted, "check_name", lambda *_: None)
    named = [attack for attack in CORPUS if attack.words in ("points outside", "is there twice")]
    for number, attack in enumerate(named[:4]):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert not tried(attack, folder).repelled(attack)


@pytest.mark.parametrize("name", ["an id in a certificate", "an evaluation's run"])
def test_a_name_that_gets_out_is_noticed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for guard in ("PLAIN", "PLAIN_FILE"):
        monkeypatch.setattr(records, guard, re.compile(".*"))
    [attack] = [attack for attack in CORPUS if attack.name == f"{name}, recertified"]
    result = tried(attack, tmp_path)
    assert result.outside and not result.repelled(attack)
