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
        scores = c.neg[:, : len(c.bank)].masked_fill(c.w_neg[:, : len(c.bank)] <= 0, -torch.inf)
        ranked = scores.topk(hardest, dim=1).indices
        made = c.bank[ranked.gather(1, draws.first)]
        if mix:
            other = c.bank[ranked.gather(1, draws.second)]
            alpha = draws.alpha.unsqueeze(2)
            made = normalize(alpha * made + (1 - alpha) * other, dim=2)
    appended = torch.einsum("ad,akd->ak", c.anchor, made)
    return replace(
        c,
        neg=torch.cat([c.neg, appended], dim=1),
        w_neg=torch.cat([c.w_neg, torch.ones_like(appended)], dim=1),
    )


def mix_pairs(
    candidates: Candidates, context: Context, hardest: int, synthetics: int, mix: bool = True
) -> Candidates:
    """Append k = `synthetics` mixes of two of the s = `hardest` hardest negatives.

    (Dong et al. 2024, eq. 2; MoCHi's type 1, Kalantidis et al. 2020.)

    Notes: the text shows neither the law of alpha nor a normalisation; U(0, 1), normalised and
    detached follows MoCHi's public form. Deviation of the released file: its active line appends
    the drawn negatives unmixed, `mix=False` here.
    """
    if synthetics == 0:
        return candidates
    c = candidates
    draws = draw_pairs(
        len(c.anchor), hardest, synthetics, context.generator, c.anchor.dtype, c.anchor.device
    )
    return apply_pairs(c, draws, hardest, mix)


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
