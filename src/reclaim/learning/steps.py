"""The steps: each takes candidates and returns candidates. A recipe is a list of them.

A step that draws is split in two, so that a slow loop can be given the same draws. A step is
called by its name in the recipe's row; there is no table to keep.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from reclaim.learning.candidates import Candidates, Context


@dataclass(frozen=True)
class PairDraws:
    """Which two of an anchor's hardest negatives are mixed, and how: all (A, k)."""

    first: Tensor
    second: Tensor
    alpha: Tensor


def draw_pairs(
    anchors: int,
    hardest: int,
    synthetics: int,
    generator: torch.Generator | None,
    dtype: torch.dtype,
    device: torch.device | str,
) -> PairDraws:
    """Two ranks in [0, hardest), independent and with replacement, and alpha ~ U(0, 1)."""
    shape = (anchors, synthetics)
    first = torch.randint(hardest, shape, generator=generator, device=device)
    second = torch.randint(hardest, shape, generator=generator, device=device)
    alpha = torch.rand(shape, generator=generator, dtype=dtype, device=device)
    return PairDraws(first, second, alpha)


def apply_pairs(
    candidates: Candidates, draws: PairDraws, hardest: int, mix: bool = True
) -> Candidates:
    """Append one negative per draw, made from the `hardest` live bank rows of each anchor.

    With n_a, n_b the drawn rows, h = alpha n_a + (1 - alpha) n_b, normalised and detached: the
    gradient flows through the anchor alone. With `mix=False`, h = n_a.
    """
    c = candidates
    with torch.no_grad():
        ranked = _hardest(c, hardest)
        made = _drawn(c, ranked, draws.first)
        if mix:
            alpha = draws.alpha.unsqueeze(2)
            made = normalize(alpha * made + (1 - alpha) * _drawn(c, ranked, draws.second), dim=2)
    return _append(c, made)


def _live(c: Candidates) -> Tensor:
    """(A, M): which rows of the bank are candidates of each anchor."""
    return c.w_neg[:, : len(c.bank)] > 0


def _hardest(c: Candidates, count: int) -> Tensor:
    """(A, count) rows of the bank that are most similar to each anchor, its live ones first."""
    scores = c.neg[:, : len(c.bank)].masked_fill(~_live(c), -torch.inf)
    return scores.topk(count, dim=1).indices


def _drawn(c: Candidates, ranked: Tensor, ranks: Tensor) -> Tensor:
    """The rows (A, k, D) of drawn ranks; where fewer are live, ranks count from the first again."""
    live = _live(c).sum(dim=1, keepdim=True).clamp(1, ranked.shape[1])
    return c.bank[ranked.gather(1, ranks % live)]


def _append(c: Candidates, made: Tensor) -> Candidates:
    """Further negatives (A, k, D) of each anchor; the gradient flows through the anchor alone.

    An anchor without a live row in the bank has none to make them of: their weight is 0.
    """
    appended = torch.einsum("ad,akd->ak", c.anchor, made)
    weight = _live(c).any(dim=1, keepdim=True).to(appended.dtype).expand_as(appended)
    return replace(
        c,
        neg=torch.cat([c.neg, appended], dim=1),
        w_neg=torch.cat([c.w_neg, weight], dim=1),
    )


def mix_pairs(
    candidates: Candidates,
    context: Context,
    hardest: int,
    synthetics: int,
    mix: bool = True,
    start: int = 0,
) -> Candidates:
    """Append k = `synthetics` mixes of two of the s = `hardest` hardest negatives.

    Before epoch `start` (counted from 0) nothing is appended.

    (Dong et al. 2024, eq. 2; MoCHi's type 1, Kalantidis et al. 2020.)

    Notes: the text shows neither the law of alpha nor a normalisation; U(0, 1), normalised and
    detached follows MoCHi's public form. Deviation of the released file: its active line appends
    the drawn negatives unmixed, `mix=False` here.
    """
    if synthetics == 0 or context.epoch < start:
        return candidates
    c = candidates
    draws = draw_pairs(
        len(c.anchor), hardest, synthetics, context.generator, c.anchor.dtype, c.anchor.device
    )
    return apply_pairs(c, draws, hardest, mix)


@dataclass(frozen=True)
class QueryDraws:
    """Which of an anchor's hardest negatives the anchor is mixed with, and how: both (A, k)."""

    rank: Tensor
    share: Tensor


def draw_query(
    anchors: int,
    hardest: int,
    query_mixes: int,
    generator: torch.Generator | None,
    dtype: torch.dtype,
    device: torch.device | str,
) -> QueryDraws:
    """A rank in [0, hardest), with replacement, and the anchor's share ~ U(0, 1/2)."""
    shape = (anchors, query_mixes)
    rank = torch.randint(hardest, shape, generator=generator, device=device)
    share = torch.rand(shape, generator=generator, dtype=dtype, device=device) / 2
    return QueryDraws(rank, share)


def apply_query(candidates: Candidates, draws: QueryDraws, hardest: int) -> Candidates:
    """Append one negative per draw: b a + (1 - b) n, normalised and detached, a the anchor."""
    c = candidates
    with torch.no_grad():
        drawn = _drawn(c, _hardest(c, hardest), draws.rank)
        share = draws.share.unsqueeze(2)
        made = normalize(share * c.anchor.unsqueeze(1) + (1 - share) * drawn, dim=2)
    return _append(c, made)


def mix_query(
    candidates: Candidates, context: Context, hardest: int, query_mixes: int, start: int = 0
) -> Candidates:
    """Append s' = `query_mixes` mixes of the anchor itself and one of its hardest negatives.

    Before epoch `start` (counted from 0) nothing is appended. (MoCHi's type 2, Kalantidis et al.
    2020: the anchor has the smaller share.)
    """
    if query_mixes == 0 or context.epoch < start:
        return candidates
    c = candidates
    draws = draw_query(
        len(c.anchor), hardest, query_mixes, context.generator, c.anchor.dtype, c.anchor.device
    )
    return apply_query(c, draws, hardest)


def enlarge(
    candidates: Candidates,
    context: Context,
    threshold: float,
    delta: float,
    unit_interval: bool = False,
) -> Candidates:
    """Lower every similarity below `threshold` by `delta`: positives and negatives alike.

    No gradient flows through the comparison. With `unit_interval` similarities are first mapped
    to (1 + cosine) / 2, for the comparison and for the loss.
    (Liu 2024, 3.3.4 and eq. 2.)

    Notes: the paper's figure 6 speaks of similarities in [0, 1] and its equations of cosines:
    both readings are here.
    """

    def moved(similarity: Tensor) -> Tensor:
        s = (1 + similarity) / 2 if unit_interval else similarity
        return torch.where(s.detach() < threshold, s - delta, s)

    return replace(candidates, pos=moved(candidates.pos), neg=moved(candidates.neg))


def apply_acceptance(
    candidates: Candidates, draws: Tensor, sharpness: float, shift: float, raw: bool
) -> Candidates:
    """Keep the negatives whose uniform draw (A, N) lies below their chance of acceptance."""
    c = candidates
    with torch.no_grad():
        neg, pos = c.neg, c.pos[:, :1]
        if raw:
            if c.anchor_norm is None or c.bank_norm is None or c.pos_norm is None:
                raise ValueError("accept in raw products needs a pairing that keeps the lengths")
            neg = neg * c.anchor_norm.unsqueeze(1) * c.bank_norm
            pos = pos * c.anchor_norm.unsqueeze(1) * c.pos_norm[:, :1]
        chance = (-sharpness * (neg - pos - shift).square()).exp().clamp(max=0.999)
    return replace(c, w_neg=torch.where(draws < chance, c.w_neg, 0))


def accept(
    candidates: Candidates, context: Context, sharpness: float, shift: float, raw: bool
) -> Candidates:
    """Keep a negative with probability e^(-a (s - s+ - b)^2), at most 0.999: near the positive.

    a = `sharpness`, b = `shift`, s and s+ the products with the negative and the first positive,
    of unit vectors or with `raw` as they came. (Dong et al. 2023, released `psm.py`.)

    Notes: the released instance loss draws in raw products although it compares cosines; their
    differences are tens, so nearly every negative is refused.
    """
    c = candidates
    draws = torch.rand(
        c.neg.shape, generator=context.generator, dtype=c.neg.dtype, device=c.neg.device
    )
    return apply_acceptance(c, draws, sharpness, shift, raw)


def harden(candidates: Candidates, context: Context, beta: float) -> Candidates:
    """Weigh negatives by e^(beta s / tau), scaled to mean 1 over the live columns of an anchor.

    (Robinson et al. 2021, HCL, eq. 4; Dong et al. 2024, eq. 3.) The weights carry gradient, as in
    both released codes. A live weight that underflows is kept at the smallest positive number: it
    still counts as a candidate.
    """
    if beta == 0:
        return candidates
    c = candidates
    live = c.w_neg > 0
    log_weight = torch.where(live, c.w_neg, 1).log() + beta * c.neg / context.temperature
    share = log_weight.masked_fill(~live, -torch.inf).softmax(dim=1)
    weight = (share * live.sum(dim=1, keepdim=True)).clamp(min=torch.finfo(share.dtype).tiny)
    some = live.any(dim=1, keepdim=True)
    return replace(c, w_neg=torch.where(live & some, weight, 0))


def debias(candidates: Candidates, context: Context, prior: float) -> Candidates:
    """Correct for false negatives, a share `prior` (tau+) of all.

    (Chuang et al. 2020, DCL, eq. 8; the correction itself is made by `contrast`.)
    """
    return replace(candidates, prior=prior)
