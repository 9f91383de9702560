"""The made-up weights of the dress rehearsal; its images are in `learning.data.synthetic`."""

from __future__ import annotations

import io

import torch

from reclaim.learning.device import generator
from reclaim.learning.nets import build_encoder, initialise
from reclaim.records import Dataset, Network


def checkpoint() -> bytes:
    """A checkpoint in the format of DINO's published ResNet-50: the first weights of such a one.

    Its bytes are the same at every call with the same PyTorch.
    """
    network = Network(arch="resnet50", stem="imagenet")
    anything = Dataset(name="rehearsal", size=32, channels=3, classes=10)
    with torch.random.fork_rng(devices=[]):
        encoder, _ = build_encoder(network, anything)
    initialise(encoder, generator("cpu", "rehearsal"))
    buffer = io.BytesIO()
    torch.save(encoder.state_dict(), buffer)
    return buffer.getvalue()
