"""Archives come whole and true from the first source that has them, or there is one clear error."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reclaim.learning.data import fetch_data, load
from reclaim.records import DataManifest, ReclaimError, read, stamps_hold
from reclaim.registry.datasets import DATASETS, dataset
from tests.learning.data.conftest import no_file_over

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])  # the servers of these tests

Publish = Callable[..., Path]
Serve = Callable[..., Any]
FILE = "cifar-10-python.tar.gz"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def holds(name: str, root: Path) -> bool:
    """Whether a set is stored whole, with nothing beside it."""
    manifest = read(root / name / "manifest.json", DataManifest, "")
    assert {path.name for path in root.iterdir()} == {"archives", name}
    assert {path.name for path in (root / name).iterdir()} == {"manifest.json", *manifest.files}
    return len(manifest.files) == 4 and stamps_hold(root / name, manifest.files)


def error_of(name: str, root: Path) -> str:
    """The one line of a fetch that fails; it stores nothing."""
    with pytest.raises(ReclaimError) as error:
        fetch_data(name, root)
    assert "\n" not in str(error.value)
    assert not (root / name).exists()
    return str(error.value)


def kept(root: Path) -> set[str]:
    return {path.name for path in (root / "archives").iterdir() if path.suffix != ".lock"}


# --- a folder of one's own -----------------------------------------------------------------------


def test_a_second_fetch_does_nothing(
    official: SimpleNamespace, publish: Publish, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = publish(official.cifar("cifar10"))
    manifest = fetch_data("cifar10", data)
    assert manifest == data / "cifar10/manifest.json" and holds("cifar10", data)
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    (mirror / FILE).unlink()
    monkeypatch.delenv("RECLAIM_MIRROR")
    assert fetch_data("cifar10", data) == manifest
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    assert kept(data) == set(), "an archive in a folder of one's own is read where it lies"


@pytest.mark.parametrize("damage", ["byte", "missing", "manifest", "version"])
def test_a_damaged_set_is_made_again(
    damage: str, official: SimpleNamespace, publish: Publish, data: Path
) -> None:
    publish(official.cifar("cifar10"))
    manifest = fetch_data("cifar10", data)
    images = data / "cifar10/train_images.npy"
    raw = bytearray(images.read_bytes())
    raw[-1] ^= 1
    match damage:
        case "byte":
            images.write_bytes(raw)
        case "missing":
            images.unlink()
        case "manifest":
            manifest.write_text("{")
        case "version":
            text = manifest.read_text()
            manifest.write_text(text.replace('"schema_version": 1', '"schema_version": 0'))
    assert fetch_data("cifar10", data) == manifest and holds("cifar10", data)


def test_a_truncated_archive(official: SimpleNamespace, publish: Publish, data: Path) -> None:
    made = official.cifar("cifar10")
    whole = len(made.archives[FILE])
    path = publish(made) / FILE
    path.write_bytes(path.read_bytes()[:-7])
    message = error_of("cifar10", data)
    assert f"{FILE} has {whole - 7} bytes, expected {whole}" in message
    assert "RECLAIM_MIRROR=FOLDER" in message and "reclaim fetch data cifar10" in message
    assert path.exists(), "nothing in a folder of one's own is deleted"


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_tampered_byte(
    kind: str, official: SimpleNamespace, publish: Publish, data: Path
) -> None:
    made = official.cifar("cifar10")
    digest = hashlib.new(kind, made.archives[FILE]).hexdigest()
    pin = replace(made.facts.archives[0], **{"sha256": None, "md5": None, kind: digest})
    made.facts = replace(made.facts, archives=(pin,))
    path = publish(made) / FILE
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert f"{FILE} has {kind} " in (message := error_of("cifar10", data))
    assert f"expected {digest}" in message
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    fetch_data("cifar10", data)
    assert holds("cifar10", data)


def test_an_unknown_name_names_the_known(data: Path) -> None:
    with pytest.raises(ReclaimError, match=r"'cifar11' is not known; did you mean cifar10\?"):
        fetch_data("cifar11", data)
    assert not data.exists()
    with pytest.raises(ReclaimError, match=f"known: {', '.join(DATASETS)}"):
        dataset("svhn")


# --- a site --------------------------------------------------------------------------------------


def test_a_site_of_ones_own(
    official: SimpleNamespace, publish: Publish, serve: Serve, data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = official.with_debian(official.fashion())
    publish(made)
    server = serve(made.archives)
    monkeypatch.setenv("RECLAIM_MIRROR", server.address + "/")
    fetch_data("fashion_mnist", data)
    assert holds("fashion_mnist", data)
    four = [archive.file for archive in made.facts.archives]
    assert server.asked == [(file, None) for file in four] and kept(data) == set(four)


def test_a_cut_download_is_continued(
    official: SimpleNamespace, publish: Publish, serve: Serve, data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = official.cifar("cifar10")
    publish(made)
    server = serve(made.archives, cut=1000, cuts=2)
    monkeypatch.setenv("RECLAIM_MIRROR", server.address)
    fetch_data("cifar10", data)
    assert holds("cifar10", data)
    assert server.asked == [(FILE, None), (FILE, "bytes=1000-"), (FILE, "bytes=2000-")]


def test_the_next_fetch_continues_what_an_earlier_one_left(
    official: SimpleNamespace, publish: Publish, serve: Serve, data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = official.cifar("cifar10")
    publish(made)
    server = serve(made.archives, cut=1000, answers=1)
    monkeypatch.setenv("RECLAIM_MIRROR", server.address)
    assert server.address in error_of("cifar10", data)
    assert (data / f"archives/{FILE}.part").stat().st_size == 1000
    server.answers = 9
    fetch_data("cifar10", data)
    assert holds("cifar10", data) and server.asked[-1] == (FILE, "bytes=1000-")


def test_a_site_that_ignores_ranges(
    official: SimpleNamespace, publish: Publish, serve: Serve, data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = official.cifar("cifar10")
    publish(made)
    server = serve(made.archives, cut=1000, cuts=1, ranges=False)
    monkeypatch.setenv("RECLAIM_MIRROR", server.address)
    fetch_data("cifar10", data)
    assert holds("cifar10", data)
    assert server.asked == [(FILE, None), (FILE, "bytes=1000-")]


def test_a_site_that_always_cuts_and_ignores_ranges_is_given_up(
    official: SimpleNamespace, publish: Publish, serve: Serve, data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = official.cifar("cifar10")
    publish(made)
    server = serve(made.archives, cut=1000, cuts=99, ranges=False)
    monkeypatch.setenv("RECLAIM_MIRROR", server.address)
    error_of("cifar10", data)
    assert len(server.asked) == 2


@pytest.mark.parametrize("left", [b"<html>moved", b"x" * 10**6])
def test_a_left_piece_of_another_file_is_thrown_away(
    left: bytes, official: SimpleNamespace, publish: Publish, serve: Serve, data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = official.cifar("cifar10")
    publish(made)
    monkeypatch.setenv("RECLAIM_MIRROR", serve(made.archives).address)
    (data / "archives").mkdir(parents=True)
    (data / f"archives/{FILE}.part").write_bytes(left)
    fetch_data("cifar10", data)
    assert holds("cifar10", data)


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("change", ["tampered", "short", "long"])
def test_a_wrong_archive_is_not_kept(
    change: str, lengths: bool, official: SimpleNamespace, publish: Publish, serve: Serve,
    data: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = official.cifar("cifar10")
    true = made.archives[FILE]
    wrong = {"tampered": true[:-1] + b"!", "short": true[:-1], "long": true + b"!"}[change]
    publish(made)
    monkeypatch.setenv("RECLAIM_MIRROR", serve({FILE: wrong}, lengths=lengths).address)
    message = error_of("cifar10", data)
    assert ("sha256" if change == "tampered" else f"expected {len(true)}") in message
    assert kept(data) == set()


def test_a_site_that_does_not_say_how_much_it_sends_cannot_fill_the_disk(
    official: SimpleNamespace, publish: Publish, serve: Serve, data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    publish(official.cifar("cifar10"))
    endless = serve({FILE: bytes(64 * 2**20)}, lengths=False)
    monkeypatch.setenv("RECLAIM_MIRROR", endless.address)
    with no_file_over(8 * 2**20):
        assert "bytes, expected" in error_of("cifar10", data)
    assert kept(data) == set()


def test_sources_are_tried_in_order_and_all_named(
    official: SimpleNamespace, publish: Publish, serve: Serve, data: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    made = official.cifar("cifar10")
    true = made.archives[FILE]
    empty, wrong, right = serve({}), serve({FILE: true[:-1] + b"!"}), serve({FILE: true})
    gone = "http://127.0.0.1:9/"
    made.facts = replace(made.facts, sites=(gone, wrong.address))
    mirror = publish(made)
    monkeypatch.setenv("RECLAIM_MIRROR", empty.address)
    message = error_of("cifar10", data)
    places = [message.index(text) for text in
              (empty.address, "status 404", gone, "refused", wrong.address, "sha256")]  # fmt: skip
    assert places == sorted(places)

    made.facts = replace(made.facts, sites=(gone, wrong.address, right.address))
    made.archives = {}
    assert publish(made) == mirror
    monkeypatch.setenv("RECLAIM_MIRROR", empty.address)
    with caplog.at_level(logging.INFO):
        fetch_data("cifar10", data)
    assert holds("cifar10", data) and len(right.asked) == 1
    assert caplog.messages[-1] == f"cifar10: {FILE} from {right.address}"


def test_an_unreachable_site_is_asked_once(
    official: SimpleNamespace, publish: Publish, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = official.fashion()
    publish(made)
    monkeypatch.setenv("RECLAIM_MIRROR", "http://127.0.0.1:9")
    assert error_of("fashion_mnist", data).count("127.0.0.1") == 1


def test_a_mirror_may_have_some_and_a_site_the_others(
    official: SimpleNamespace, publish: Publish, serve: Serve, data: Path
) -> None:
    made = official.fashion()
    server = serve(made.archives)
    made.facts = replace(made.facts, sites=(server.address,))
    _, *others = made.archives
    mirror = publish(made)
    for file in others:
        (mirror / file).unlink()
    fetch_data("fashion_mnist", data)
    assert holds("fashion_mnist", data) and [file for file, _ in server.asked] == others


# --- Debian's package ----------------------------------------------------------------------------


def debian_only(official: SimpleNamespace, publish: Publish) -> tuple[SimpleNamespace, Path]:
    made = official.with_debian(official.fashion())
    mirror = publish(made)
    for archive in made.facts.archives:
        (mirror / archive.file).unlink()
    return made, mirror


def fake_apt(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    program = folder / "apt-get"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_package_in_a_folder_of_ones_own(
    official: SimpleNamespace, publish: Publish, data: Path
) -> None:
    made, _ = debian_only(official, publish)
    fetch_data("fashion_mnist", data)
    assert holds("fashion_mnist", data)
    for array, values in vars(load("fashion_mnist", data)).items():
        np.testing.assert_array_equal(values, made.expected[array])


def test_both_sources_store_the_same_bytes(
    official: SimpleNamespace, publish: Publish, tmp_path: Path
) -> None:
    publish(official.with_debian(official.fashion()))
    first = fetch_data("fashion_mnist", tmp_path / "first").read_bytes()
    debian_only(official, publish)
    assert fetch_data("fashion_mnist", tmp_path / "second").read_bytes() == first


def test_apt_get_is_the_last_source(
    official: SimpleNamespace, publish: Publish, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made, mirror = debian_only(official, publish)
    debian = made.facts.debian
    monkeypatch.delenv("RECLAIM_MIRROR")
    script = (
        f'[ "$*" = "download {debian.package}={debian.version}" ] || exit 3\n'
        f"cp '{mirror / debian.archive.file}' renamed_1%3a2_all.deb"
    )
    fake_apt(tmp_path / "bin", script, monkeypatch)
    fetch_data("fashion_mnist", data)
    assert holds("fashion_mnist", data) and kept(data) == {debian.archive.file}

    (data / "fashion_mnist/manifest.json").unlink()
    (tmp_path / "bin/apt-get").write_text("#!/bin/sh\nexit 1\n")
    fetch_data("fashion_mnist", data)
    assert holds("fashion_mnist", data), "the package that was kept is enough"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'E: Unable to locate package x' >&2; exit 100", "E: Unable to locate package x"),
        ("echo other > other.deb", "has 6 bytes, expected"),
    ],
)
def test_apt_get_that_does_not_have_it(
    script: str, message: str, official: SimpleNamespace, publish: Publish, data: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    debian_only(official, publish)
    monkeypatch.delenv("RECLAIM_MIRROR")
    fake_apt(tmp_path / "bin", script, monkeypatch)
    text = error_of("fashion_mnist", data)
    assert "Debian: " in text and message in text
    assert kept(data) == set()


def test_a_machine_without_apt_get(
    official: SimpleNamespace, publish: Publish, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    debian_only(official, publish)
    monkeypatch.delenv("RECLAIM_MIRROR")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "Debian: this machine has no apt-get" in error_of("fashion_mnist", data)


# --- no space, many processes --------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 300, 100_000])
def test_no_space_for_the_arrays(
    limit: int, official: SimpleNamespace, publish: Publish, data: Path
) -> None:
    publish(official.cifar("cifar10"))
    with no_file_over(limit):
        assert "free some space" in error_of("cifar10", data)
    assert [path.name for path in data.iterdir()] == ["archives"] and kept(data) == set()
    fetch_data("cifar10", data)
    assert holds("cifar10", data)


def test_no_space_for_the_manifest_or_while_the_arrays_are_moved(
    official: SimpleNamespace, publish: Publish, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(official.cifar("cifar10"))
    fetch_data("cifar10", data)
    (data / "cifar10/train_labels.npy").unlink()
    moved: list[str] = []

    def replace_until_full(self: Path, target: Path) -> Path:
        if len(moved) == 2:
            raise OSError(28, os.strerror(28))
        moved.append(self.name)
        return self.rename(target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_until_full)
        with pytest.raises(ReclaimError, match="No space left on device; free some space"):
            fetch_data("cifar10", data)
    assert len(moved) == 2
    fetch_data("cifar10", data)
    assert holds("cifar10", data)


def test_no_space_while_downloading_keeps_the_piece(
    official: SimpleNamespace, publish: Publish, serve: Serve, data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = official.cifar("cifar10")
    publish(made)
    server = serve(made.archives)
    monkeypatch.setenv("RECLAIM_MIRROR", server.address)
    with no_file_over(5000):
        assert "is continued" in error_of("cifar10", data)
    fetch_data("cifar10", data)
    assert holds("cifar10", data) and server.asked[1] == (FILE, "bytes=5000-")


def test_a_folder_that_cannot_be_written(
    official: SimpleNamespace, publish: Publish, tmp_path: Path
) -> None:
    publish(official.cifar("cifar10"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ReclaimError, match="permissions"):
        fetch_data("cifar10", tmp_path / "file/data")


FETCH = """
import pickle, sys
from pathlib import Path
from reclaim.learning.data import fetch_data, formats
from reclaim.registry.datasets import DATASETS
read = formats.read
formats.read = lambda *what: (print("read"), read(*what))[1]
facts = pickle.loads(Path(sys.argv[1]).read_bytes())
DATASETS[facts.name] = facts
print("ready", flush=True)
sys.stdin.readline()
print(fetch_data(facts.name, Path(sys.argv[2])))
assert "torch" not in sys.modules
"""


def test_processes_that_fetch_at_once_make_one_download(
    official: SimpleNamespace, publish: Publish, serve: Serve, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = official.cifar("cifar10")
    publish(made)
    server = serve(made.archives)
    monkeypatch.setenv("RECLAIM_MIRROR", server.address)
    (tmp_path / "facts").write_bytes(pickle.dumps(made.facts))
    command = [sys.executable, "-c", FETCH, str(tmp_path / "facts"), str(data)]
    pipe = subprocess.PIPE
    fetchers = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(3)
    ]
    for fetcher in fetchers:
        assert fetcher.stdout is not None
        fetcher.stdout.readline()  # ready: now all three go at once
    outputs = []
    for fetcher in fetchers:
        assert fetcher.stdin is not None
        fetcher.stdin.write("\n")
        fetcher.stdin.flush()
    for fetcher in fetchers:
        out, complaint = fetcher.communicate()
        assert fetcher.returncode == 0, complaint
        outputs += out.splitlines()
    assert sorted(outputs) == [str(data / "cifar10/manifest.json")] * 3 + ["read"]
    assert holds("cifar10", data) and server.asked == [(FILE, None)]


HOLD = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_leaves_is_no_hindrance(
    official: SimpleNamespace, publish: Publish, data: Path
) -> None:
    publish(official.cifar("cifar10"))
    (data / "archives").mkdir(parents=True)
    (data / ".cifar10.new").mkdir()
    (data / ".cifar10.new/train_images.npy").write_bytes(b"half")
    command = [sys.executable, "-c", HOLD, str(data / "archives/cifar10.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
    fetch_data("cifar10", data)
    assert holds("cifar10", data)
