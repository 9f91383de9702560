"""The image sets: their shape, their official archives with pins, and where those are served.

Sizes and hashes are facts about published files, so they are data here and the code that fetches
has no exception for any of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from reclaim.records import ReclaimError, did_you_mean


@dataclass(frozen=True)
class Content:
    """What a compressed file holds once unpacked."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Archive:
    """One published file and its pins: sha256, or md5 where no sha256 is known."""

    file: str
    bytes: int
    sha256: str | None = None
    md5: str | None = None
    content: Content | None = None


@dataclass(frozen=True)
class DebianPackage:
    """A second source: a package that holds the same archives in one folder."""

    package: str
    version: str
    archive: Archive
    folder: str


@dataclass(frozen=True)
class DatasetFacts:
    """One image set: `n_train` and `n_test` images of (size, size, channels) uint8.

    `sites` are the official addresses, in the order in which they are tried; each serves every
    archive under its file name. A rehearsal's image set is made up, in the format of the one that
    it `stands_for`.
    """

    name: str
    title: str
    format: Literal["digits", "idx", "cifar", "tiny_imagenet"]
    size: int
    channels: int
    classes: int
    n_train: int
    n_test: int
    archives: tuple[Archive, ...] = ()
    sites: tuple[str, ...] = ()
    debian: DebianPackage | None = None
    stands_for: str | None = None

    def shape(self, count: int) -> tuple[int, int, int, int]:
        """The shape of an array of `count` images: (N, H, W, C)."""
        return count, self.size, self.size, self.channels


# Debian's four .gz files differ from the official ones only in the gzip header: with the name and
# the time of 2017-08-31 put back they have these sizes, sha256 and md5. So both sources unpack to
# the same `content`.
FASHION_MNIST = (
    Archive(
        "train-images-idx3-ubyte.gz",
        26_421_880,
        sha256="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        content=Content(
            47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
    ),
    Archive(
        "train-labels-idx1-ubyte.gz",
        29_515,
        sha256="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        md5="25c81989df183df01b3e8a0aad5dffbe",
        content=Content(60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    ),
    Archive(
        "t10k-images-idx3-ubyte.gz",
        4_422_102,
        sha256="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        md5="bef4ecab320f06d8554ea6380940ec79",
        content=Content(
            7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
    ),
    Archive(
        "t10k-labels-idx1-ubyte.gz",
        5_148,
        sha256="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        md5="bb300cfdad3c16e7a12a480ee83cd310",
        content=Content(10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
)

# The second host is from a single source and was never reached from here: unconfirmed.
TORONTO = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")

DATASETS: dict[str, DatasetFacts] = {
    facts.name: facts
    for facts in (
        DatasetFacts(
            name="digits",
            title="scikit-learn's copy of the UCI optical digits",
            format="digits",
            size=8,
            channels=1,
            classes=10,
            n_train=1_297,
            n_test=500,
        ),
        DatasetFacts(
            name="fashion_mnist",
            title="Fashion-MNIST (Xiao et al. 2017)",
            format="idx",
            size=28,
            channels=1,
            classes=10,
            n_train=60_000,
            n_test=10_000,
            archives=FASHION_MNIST,
            sites=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
            debian=DebianPackage(
                package="dataset-fashion-mnist",
                version="0.0~git20200523.55506a9-1",
                archive=Archive(
                    "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
                    30_900_652,
                    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
                ),
                folder="usr/share/datasets/fashion-mnist",
            ),
        ),
        DatasetFacts(
            name="cifar10",
            title="CIFAR-10 (Krizhevsky 2009)",
            format="cifar",
            size=32,
            channels=3,
            classes=10,
            n_train=50_000,
            n_test=10_000,
            archives=(
                Archive(
                    "cifar-10-python.tar.gz",
                    170_498_071,
                    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                    md5="c58f30108f718f92721af3b95e74349a",
                ),
            ),
            sites=TORONTO,
        ),
        DatasetFacts(
            name="cifar100",
            title="CIFAR-100 (Krizhevsky 2009)",
            format="cifar",
            size=32,
            channels=3,
            classes=100,
            n_train=50_000,
            n_test=10_000,
            archives=(
                Archive(
                    "cifar-100-python.tar.gz",
                    169_001_437,
                    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
                    md5="eb9058c3a382ffc7106e4002c42a8d85",
                ),
            ),
            sites=TORONTO,
        ),
        DatasetFacts(
            name="tiny_imagenet",
            title="TinyImageNet (Stanford CS231n), test = the official validation images",
            format="tiny_imagenet",
            size=64,
            channels=3,
            classes=200,
            n_train=100_000,
            n_test=10_000,
            archives=(
                # No sha256 of this file is known: size and md5 are what there is.
                Archive(
                    "tiny-imagenet-200.zip",
                    248_100_043,
                    md5="90528d7ca1a48142e341f4ef8d21d0de",
                ),
            ),
            sites=("http://cs231n.stanford.edu/",),
        ),
    )
}


def _made_up(name: str, pin: Archive) -> DatasetFacts:
    real = DATASETS[name]
    return replace(
        real,
        name=f"rehearsal_{name}",
        title=f"made-up images in the format of {name}",
        n_train=400,
        n_test=20,
        archives=(pin,),
        sites=(),
        stands_for=name,
    )


# Built by `learning.data.synthetic`; the names of the files keep them apart from the real ones.
DATASETS |= {
    facts.name: facts
    for facts in (
        _made_up(
            "cifar10",
            Archive(
                "rehearsal-cifar-10-python.tar.gz",
                1_310_843,
                sha256="db1b5291978b77d35a4ff99ea016bfe25c7173b58b6cb34e5e3c34dfaed29a5a",
            ),
        ),
        _made_up(
            "cifar100",
            Archive(
                "rehearsal-cifar-100-python.tar.gz",
                1_310_843,
                sha256="68f266908312a21f7f0a1f53f88344e2c619d3aec180e52259afa5ba057dcf56",
            ),
        ),
        _made_up(
            "tiny_imagenet",
            Archive(
                "rehearsal-tiny-imagenet-200.zip",
                402_188,
                sha256="cc6e63df135bf62df6263fa537c7204a258eec958296b02b33c104f9b2016a80",
            ),
        ),
    )
}


def dataset(name: str) -> DatasetFacts:
    """The facts of an image set. Raises ReclaimError for an unknown name."""
    if name in DATASETS:
        return DATASETS[name]
    hint = did_you_mean(name, DATASETS)
    raise ReclaimError(f"dataset {name!r} is not known; {hint}known: {', '.join(DATASETS)}")
