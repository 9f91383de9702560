"""What an anchor is compared with: the candidate record, and the pairings that fill it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True)
class Outputs:
    """What one forward pass leaves for the pairings and losses.

    z1, z2 (B, D): the projections of the two views, not normalised.
    logits (2B, C), labels (2B,): only for a loss that learns from labels.
    """

    z1: Tensor
    z2: Tensor
    logits: Tensor | None = None
    labels: Tensor | None = None


@dataclass(frozen=True)
class Context:
    """Where in the training a step is, and the generator its draws come from."""

    temperature: float
    generator: torch.Generator | None = None
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Candidates:
    """A anchors with their positives and negatives, as unit vectors and cosines.

    anchor (A, D), bank (M, D): unit vectors.
    pos (A, P), neg (A, N): cosine similarities; columns [0, M) of neg are the bank's rows in
        order, appended columns have no bank row and are never mixed from.
    w_pos (A, P), w_neg (A, N): weights; 0 means "not a candidate", above 0 "live".
    prior: the chance that a negative is a false one (tau+); 0 leaves the loss undebiased.
    """

    anchor: Tensor
    bank: Tensor
    pos: Tensor
    neg: Tensor
    w_pos: Tensor
    w_neg: Tensor
    prior: float = 0.0


def in_batch(outputs: Outputs) -> Candidates:
    """Every view against all others of its batch: 2B anchors, 2B - 2 negatives each.

    (Chen et al. 2020, SimCLR, eq. 1.) The bank is the batch itself; an anchor's own column and its
    positive's have weight 0.
    """
    unit = normalize(torch.cat([outputs.z1, outputs.z2]), dim=1)
    views = len(unit)
    own = torch.arange(views, device=unit.device)
    positive = own.roll(views // 2)
    neg = unit @ unit.T
    w_neg = torch.ones_like(neg)
    w_neg[own, own] = 0
    w_neg[own, positive] = 0
    pos = neg[own, positive].unsqueeze(1)
    return Candidates(unit, unit, pos, neg, torch.ones_like(pos), w_neg)
