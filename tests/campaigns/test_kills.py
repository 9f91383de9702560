"""A sample of whole processes: killed in the midst of their work, or many at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaigns.many import fetch_at_once, killed_holder


def test_verbs_that_were_killed_end_with_the_same_bits() -> None:
    """In a process of their own, from which they are forked."""
    command = [sys.executable, "-m", "tests.campaigns.kills", "3", "verbs"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    row = done.stdout.splitlines()[2].strip("| ").split(" | ")
    assert (row[1], row[4]) == ("3", "0")


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_processes_that_fetch_at_once_make_one_download(tmp_path: Path) -> None:
    assert fetch_at_once(tmp_path / "fetch", 4).right


def test_a_lock_whose_holder_was_killed_is_free(tmp_path: Path) -> None:
    from filelock import FileLock

    lock = tmp_path / "locks/run.lock"
    assert killed_holder("a lock", lock, FileLock(lock, timeout=30).acquire).right
