"""What an anchor is compared with: the candidate record, and the pairings that fill it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True)
class Outputs:
    """What one forward pass leaves for the pairings and losses; what no recipe asked for is None.

    z1, z2 (B, D): the projections of the two views, not normalised. p1, p2 (B, D): their
        predictions. local (L, B, D): the projections of the local crops.
    k1, k2 (B, D): the projections by the EMA twin, without gradient. centre (D,): the running mean
        of the twin's projections.
    queue (K, D): the twin's projections of earlier steps, as they were. own (B, K): whether a
        queued key is of the same image.
    labels (2B,): for a loss that learns from labels.
    """

    z1: Tensor | None = None
    z2: Tensor | None = None
    p1: Tensor | None = None
    p2: Tensor | None = None
    k1: Tensor | None = None
    k2: Tensor | None = None
    queue: Tensor | None = None
    own: Tensor | None = None
    local: Tensor | None = None
    centre: Tensor | None = None
    labels: Tensor | None = None

    def swapped(self) -> Outputs:
        """The same pass with the two views changed over; the queue stays."""
        return replace(self, z1=self.z2, z2=self.z1, p1=self.p2, p2=self.p1, k1=self.k2, k2=self.k1)

    def need(self, name: str) -> Tensor:
        """A tensor that a pairing or loss cannot do without. Raises ValueError if it is None."""
        value = getattr(self, name)
        if not isinstance(value, Tensor):
            raise ValueError(f"this recipe needs outputs.{name}, which the forward pass left out")
        return value

    def stopped(self, name: str) -> Tensor:
        """`need`, for what comes from the twin: no gradient runs through it."""
        return self.need(name).detach()


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
    anchor_norm (A,), bank_norm (M,), pos_norm (A, P): lengths before normalisation, where a step
        needs raw products.
    """

    anchor: Tensor
    bank: Tensor
    pos: Tensor
    neg: Tensor
    w_pos: Tensor
    w_neg: Tensor
    prior: float = 0.0
    anchor_norm: Tensor | None = None
    bank_norm: Tensor | None = None
    pos_norm: Tensor | None = None


def in_batch(outputs: Outputs) -> Candidates:
    """Every view against all others of its batch: 2B anchors, 2B - 2 negatives each.

    (Chen et al. 2020, SimCLR, eq. 1.) The bank is the batch itself; an anchor's own column and its
    positive's have weight 0.
    """
    return _all_against_all(outputs.need("z1"), outputs.need("z2"))


def _all_against_all(first: Tensor, second: Tensor) -> Candidates:
    unit = normalize(torch.cat([first, second]), dim=1)
    views = len(unit)
    own = torch.arange(views, device=unit.device)
    positive = own.roll(views // 2)
    neg = unit @ unit.T
    w_neg = torch.ones_like(neg)
    w_neg[own, own] = 0
    w_neg[own, positive] = 0
    pos = neg[own, positive].unsqueeze(1)
    return Candidates(unit, unit, pos, neg, torch.ones_like(pos), w_neg)


def queued(outputs: Outputs) -> Candidates:
    """The first view against its image's key and the queue: B anchors, K negatives each.

    (He et al. 2020, MoCo, eq. 1.) The key is the twin's projection of the second view; the queue
    holds those of earlier steps. Keys carry no gradient.

    Notes: with `own` an image's keys of an earlier epoch are no candidates; the papers and their
    codes leave them in.
    """
    query, key = normalize(outputs.need("z1"), dim=1), normalize(outputs.stopped("k2"), dim=1)
    bank = normalize(outputs.stopped("queue"), dim=1)
    pos = (query * key).sum(dim=1, keepdim=True)
    neg = query @ bank.T
    w_neg = torch.ones_like(neg)
    if outputs.own is not None:
        w_neg = w_neg.masked_fill(outputs.own, 0)
    return Candidates(query, bank, pos, neg, torch.ones_like(pos), w_neg)


def neighbour_group(outputs: Outputs, neighbours: int, soft: bool) -> Candidates:
    """The prediction against every image's group: its key and the key's nearest queued keys.

    B anchors; an anchor's own group of K + 1 entries (K = `neighbours`) are its positives, the
    (B - 1)(K + 1) entries of the others its negatives. The key weighs 1; a neighbour u weighs 1,
    or with `soft` the softmax of h . u over the anchor's neighbours, h its own projection, with
    gradient and without a temperature.
    (Dong et al. 2023, released `psm.py`, the group loss.)

    Notes: the abstract speaks of soft and hard weights, the released file always takes the hard.
    """
    query, own = normalize(outputs.need("p1"), dim=1), normalize(outputs.need("z1"), dim=1)
    key, bank = normalize(outputs.stopped("k2"), dim=1), normalize(outputs.stopped("queue"), dim=1)
    mined = bank[(key @ bank.T).topk(neighbours, dim=1).indices]
    group = torch.cat([key.unsqueeze(1), mined], dim=1)
    anchors, size = len(query), neighbours + 1
    pos = torch.einsum("ad,apd->ap", query, group)
    w_pos = torch.ones_like(pos)
    if soft:
        share = torch.einsum("ad,akd->ak", own, mined).softmax(dim=1)
        w_pos = torch.cat([torch.ones_like(share[:, :1]), share], dim=1)
    entries = group.flatten(0, 1)
    neg = query @ entries.T
    image = torch.arange(anchors, device=query.device)
    w_neg = (image.unsqueeze(1) != image.repeat_interleave(size)).to(neg.dtype)
    return Candidates(query, entries, pos, neg, w_pos, w_neg)


def instance(outputs: Outputs) -> Candidates:
    """Predictions of one view and keys of the other, all against all as in `in_batch`.

    2B anchors, 2B - 2 negatives each; the keys carry no gradient. The lengths before normalisation
    are kept for `accept`. (Dong et al. 2023, released `psm.py`, the instance loss.)
    """
    query, key = outputs.need("p1"), outputs.stopped("k2")
    norm = torch.cat([query, key]).norm(dim=1)
    return replace(
        _all_against_all(query, key),
        anchor_norm=norm,
        bank_norm=norm,
        pos_norm=norm.roll(len(query)).unsqueeze(1),
    )
