"""Each reader gives the images that were put in, and refuses what an archive must not hold."""

from __future__ import annotations

import io
import pickle
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from reclaim.learning.data import fetch_data, load
from reclaim.learning.data.untrusted import unpickle
from reclaim.records import ReclaimError, stamp

Publish = Callable[..., Path]


def stored_arrays(name: str, root: Path) -> dict[str, NDArray[Any]]:
    fetch_data(name, root)
    return {array: np.array(values) for array, values in vars(load(name, root)).items()}


def check(made: SimpleNamespace, root: Path) -> None:
    found = stored_arrays(made.facts.name, root)
    for array, expected in made.expected.items():
        assert found[array].dtype == (np.uint8 if "images" in array else np.int64)
        np.testing.assert_array_equal(found[array], expected, err_msg=array)


def refused(made: SimpleNamespace, publish: Publish, root: Path, message: str) -> None:
    """Fetching is a one-line error that says `message`, and stores nothing."""
    publish(made)
    with pytest.raises(ReclaimError, match=message) as error:
        fetch_data(made.facts.name, root)
    assert "\n" not in str(error.value)
    assert list(root.glob("**/*.npy")) == [] and list(root.glob("**/manifest.json")) == []
    assert not [path for path in root.iterdir() if path.name != "archives"]


# --- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(name: str, official: SimpleNamespace, publish: Publish, tmp_path: Path) -> None:
    made = official.cifar(name)
    publish(made)
    check(made, tmp_path / "data")


def test_the_cifar_archive_of_these_tests_is_what_others_read(
    official: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    made = official.cifar("cifar10")
    (content,) = made.archives.values()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            if (file := tar.extractfile(member)) is not None:
                (tmp_path / member.name).parent.mkdir(exist_ok=True)
                (tmp_path / member.name).write_bytes(file.read())

    batches = [[f"data_batch_{i}", None] for i in range(1, 6)]
    monkeypatch.setattr(CIFAR10, "train_list", batches)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", None]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": None})
    for split, train in (("train", True), ("test", False)):
        other = CIFAR10(tmp_path, train=train)
        np.testing.assert_array_equal(other.data, made.expected[f"{split}_images"])
        assert other.targets == made.expected[f"{split}_labels"].tolist()


def test_cifar_pickles_of_python_3(
    official: SimpleNamespace, publish: Publish, tmp_path: Path
) -> None:
    made = official.cifar("cifar100")
    members = [
        (name, pickle.dumps(pickle.loads(raw, encoding="latin1"), protocol=2))
        if name.endswith(("train", "test")) else (name, raw)
        for name, raw in official.cifar_members(made.facts, made.expected)
    ]  # fmt: skip
    made = official.repin(made, {"cifar-100-python.tar.gz": official.targz(members)})
    publish(made)
    check(made, tmp_path / "data")


def test_tiny_imagenet(official: SimpleNamespace, publish: Publish, tmp_path: Path) -> None:
    made = official.tiny()
    publish(made)
    check(made, tmp_path / "data")


def test_fashion_mnist(official: SimpleNamespace, publish: Publish, tmp_path: Path) -> None:
    made = official.fashion()
    publish(made)
    check(made, tmp_path / "data")


def test_digits_are_split_the_same_for_ever(tmp_path: Path) -> None:
    found = stored_arrays("digits", tmp_path)
    images = np.concatenate([found["train_images"], found["test_images"]])[..., 0]
    labels = np.concatenate([found["train_labels"], found["test_labels"]])
    assert found["train_images"].shape == (1297, 8, 8, 1) and len(found["test_labels"]) == 500
    assert np.bincount(found["test_labels"]).tolist() == [50] * 10

    source = load_digits()
    rows = sorted(
        (int(label), image.tobytes()) for image, label in zip(images, labels, strict=True)
    )
    expected = sorted(
        (int(label), bytes(int(value * 255 / 16 + 0.5) for value in image.ravel()))
        for image, label in zip(source.images, source.target, strict=True)
    )
    assert rows == expected
    # The published results stand on this split.
    assert stamp(tmp_path / "digits/test_labels.npy").sha256.startswith("69e40a5ba039d09f")
    assert stamp(tmp_path / "digits/test_images.npy").sha256.startswith("f95686a3d1b43f38")


# --- what is refused -----------------------------------------------------------------------------


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("../x", b"evil"), "'../x' points outside"),
        (("cifar-10-batches-py/../../x", b"evil"), "points outside"),
        (("/tmp/x", b"evil"), "'/tmp/x' points outside"),
        ((link("cifar-10-batches-py/data_batch_1", tarfile.SYMTYPE), b""), "is a link"),
        ((link("cifar-10-batches-py/hard", tarfile.LNKTYPE), b""), "is a link"),
        ((link("cifar-10-batches-py/pipe", tarfile.FIFOTYPE), b""), "is a link or a device"),
        (("cifar-10-batches-py/test_batch", b""), "is there twice"),
        (("./cifar-10-batches-py/test_batch", b""), "is there twice"),
        (("cifar-10-batches-py/big", bytes(3 * 2**20)), "has 3145728 bytes, over"),
    ],
)
def test_a_tar_with_an_evil_member(
    member: tuple[str | tarfile.TarInfo, bytes], message: str,
    official: SimpleNamespace, publish: Publish, tmp_path: Path,
) -> None:  # fmt: skip
    refused(official.cifar("cifar10", extra=[member]), publish, tmp_path / "data", message)


def zip_link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("tiny-imagenet-200/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("../x", b"evil"), "'../x' points outside"),
        (("tiny-imagenet-200/../../x", b"evil"), "points outside"),
        (("/tmp/x", b"evil"), "points outside"),
        (("..\\x", b"evil"), "points outside"),
        ((zip_link(), b"/etc/passwd"), "is a link"),
        (("tiny-imagenet-200/big", bytes(17 * 2**20)), "bytes, over"),
        (("tiny-imagenet-200/train/n99/images/n99_0.JPEG", b""), "wnids.txt lacks"),
        (("tiny-imagenet-200/train/n01443537/images/n01443537_99.JPEG", b""), "has 13 images"),
    ],
)
def test_a_zip_with_an_evil_member(
    member: tuple[str | zipfile.ZipInfo, bytes], message: str,
    official: SimpleNamespace, publish: Publish, tmp_path: Path,
) -> None:  # fmt: skip
    made = official.tiny()
    ((file, content),) = made.archives.items()
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(*member)
    refused(official.repin(made, {file: buffer.getvalue()}), publish, tmp_path / "data", message)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_member_twice(
    official: SimpleNamespace, publish: Publish, tmp_path: Path
) -> None:
    made = official.tiny()
    ((file, content),) = made.archives.items()
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("tiny-imagenet-200/wnids.txt", "n1 n2 n3")
    made = official.repin(made, {file: buffer.getvalue()})
    refused(made, publish, tmp_path / "data", "is there twice")


TINY = "tiny-imagenet-200"
VAL = f"{TINY}/val/val_annotations.txt"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree.update({VAL: tree[VAL] + b"val_9.JPEG\tn01443537\t0\n"}), "labels 8"),
        (lambda tree: tree.update({VAL: tree[VAL].replace(b"val_3", b"val_2")}), "labels 6"),
        (lambda tree: tree.update({VAL: tree[VAL].replace(b"n014", b"n015")}), "unknown class"),
        (lambda tree: tree.pop(f"{TINY}/val/images/val_3.JPEG"), "no item named"),
        (lambda tree: tree.pop(f"{TINY}/wnids.txt"), "no item named"),
        (lambda tree: tree.update({f"{TINY}/wnids.txt": b"n1 n1 n2"}), "names 2 classes"),
        (lambda tree: tree.update({f"{TINY}/val/images/val_3.JPEG": b"GIF89a"}), "val_3.*JPEG"),
    ],
)
def test_a_tiny_imagenet_that_does_not_add_up(
    change: Callable[[dict[str, bytes]], None], message: str,
    official: SimpleNamespace, publish: Publish, tmp_path: Path,
) -> None:  # fmt: skip
    refused(official.tiny(change), publish, tmp_path / "data", message)


def test_a_jpeg_of_another_size(
    official: SimpleNamespace, publish: Publish, tmp_path: Path
) -> None:
    wide = official.jpeg(np.zeros((64, 65, 3), np.uint8))
    made = official.tiny(lambda tree: tree.update({f"{TINY}/val/images/val_3.JPEG": wide}))
    refused(made, publish, tmp_path / "data", r"\(65, 64\), expected side 64")


def cifar_with(official: SimpleNamespace, test_batch: bytes) -> SimpleNamespace:
    made = official.cifar("cifar10")
    members = dict(official.cifar_members(made.facts, made.expected))
    members["cifar-10-batches-py/test_batch"] = test_batch
    archives = {"cifar-10-python.tar.gz": official.targz(list(members.items()))}
    changed: SimpleNamespace = official.repin(made, archives)
    return changed


PIXELS = np.zeros((50, 3072), np.uint8)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"data": PIXELS, "labels": [0] * 49}, "49 labels for 50 images"),
        ({"data": PIXELS, "labels": [0] * 49 + [10]}, "test label 10 does not fit"),
        ({"data": PIXELS, "labels": [-1] * 50}, "test label -1 does not fit"),
        ({"data": PIXELS, "labels": ["0"] * 50}, "no list of whole numbers 'labels'"),
        ({"data": PIXELS[:49], "labels": [0] * 49}, r"shape \(50, 3072\)"),
        ({"data": PIXELS[:, 1:], "labels": [0] * 50}, r"shape \(50, 3072\)"),
        ({"labels": [0] * 50}, "no uint8 array 'data'"),
        ([1, 2], "no uint8 array 'data'"),
    ],
)
def test_a_cifar_batch_that_does_not_add_up(
    batch: object, message: str, official: SimpleNamespace, publish: Publish, tmp_path: Path
) -> None:
    made = cifar_with(official, official.py2_pickle(batch))
    refused(made, publish, tmp_path / "data", message)


class Evil:
    """Would create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return open, (str(self.path), "w")


def test_a_pickle_that_runs_code_is_not_run(
    official: SimpleNamespace, publish: Publish, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    evil = pickle.dumps({"data": Evil(trace)}, protocol=2)
    pickle.loads(evil)["data"].close()
    assert trace.exists(), "the attack works on an ordinary unpickler"
    trace.unlink()
    refused(cifar_with(official, evil), publish, tmp_path / "data", "open is not allowed")
    assert not trace.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.",
        b"\x80\x02U",
        b"",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x8a\x0a" + b"\x7f" * 10
        + b"\x85U\x01b\x87R.",
    ],
)  # fmt: skip
def test_pickles_that_are_not_plain(raw: bytes) -> None:
    with pytest.raises(ReclaimError, match="not a plain pickle"):
        unpickle("here", raw)


@pytest.mark.parametrize(
    ("array", "wrong", "message"),
    [
        ("train_labels", np.zeros(39, np.uint8), r"labels.*shape \(39,\).*expected \(40,\)"),
        ("test_images", np.zeros((19, 28, 28), np.uint8), r"images.*expected \(20, 28, 28\)"),
        ("test_images", np.zeros((20, 28, 27), np.uint8), r"images.*expected \(20, 28, 28\)"),
        ("train_labels", np.full(40, 10), "train label 10 does not fit 10 classes"),
    ],
)
def test_idx_labels_that_do_not_match_their_images(
    array: str, wrong: NDArray[Any], message: str,
    official: SimpleNamespace, publish: Publish, tmp_path: Path,
) -> None:  # fmt: skip
    arrays = {**official.fashion().expected, array: wrong}
    refused(official.fashion(arrays), publish, tmp_path / "data", message)


def test_idx_content_is_pinned_beside_its_archive(
    official: SimpleNamespace, publish: Publish, tmp_path: Path
) -> None:
    made, file = official.fashion(), "t10k-labels-idx1-ubyte.gz"
    labels = (made.expected["test_labels"] + 1) % 10
    other = official.fashion({**made.expected, "test_labels": labels})
    made = official.repin(made, {**made.archives, file: other.archives[file]})
    refused(made, publish, tmp_path / "data", f"{file}: unpacks to .* expected 28 bytes")


@pytest.mark.parametrize("name", ["cifar10", "tiny_imagenet", "fashion_mnist"])
def test_a_broken_archive_whose_pins_hold(
    name: str, official: SimpleNamespace, publish: Publish, tmp_path: Path
) -> None:
    made = {
        "cifar10": lambda: official.cifar("cifar10"),
        "tiny_imagenet": official.tiny,
        "fashion_mnist": official.fashion,
    }[name]()
    message = "not readable|unpacks to 0 bytes"
    for cut in (0, 5, 0.5):
        halves = {
            file: content[: int(cut * len(content)) if cut < 1 else int(cut)]
            for file, content in made.archives.items()
        }
        refused(official.repin(made, halves), publish, tmp_path / f"data{cut}", message)
