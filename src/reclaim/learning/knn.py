"""Weighted nearest neighbours on the features of a frozen encoder."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from reclaim.learning.frozen import CHUNK, Frozen
from reclaim.records import KnnProtocol


def knn_scores(frozen: Frozen, protocol: KnnProtocol) -> Tensor:
    """Votes (N, C) of the nearest training images, weighted by e^(cosine / temperature).

    (Wu et al. 2018, section 3.4.)
    """
    embed = partial(frozen.embed, views=protocol.test_views)
    bank = normalize(embed(frozen.images.train), dim=1)
    queries = normalize(embed(frozen.images.test), dim=1)
    labels = frozen.images.train_labels
    votes = torch.zeros(len(queries), frozen.classes, device=frozen.device)
    neighbours = min(protocol.neighbours, len(bank))
    for start in range(0, len(queries), CHUNK):
        near = (queries[start : start + CHUNK] @ bank.T).topk(neighbours, dim=1)
        weight = ((near.values - 1) / protocol.temperature).exp()
        classes = one_hot(labels[near.indices], frozen.classes).float()
        votes[start : start + CHUNK] = torch.einsum("qn,qnc->qc", weight, classes)
    return votes
