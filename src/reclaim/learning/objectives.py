"""The losses: what a term minimises."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from reclaim.learning.candidates import Candidates, Context, Outputs


def contrast(candidates: Candidates, context: Context) -> Tensor:
    """The contrastive loss of all recipes, as a mean over the anchors (a scalar).

    sum_p w_pos[p] (log(sum_q e^(pos[q]/tau) + G) - pos[p]/tau), q over the live positives, with
    G = sum_j w_j e^(s_j/tau), and where prior > 0
    G = max((sum_j w_j e^(s_j/tau) - prior N e^(s+/tau)) / (1 - prior), N e^(-1/tau)),
    N the live negatives and s+ the first positive.
    (Chen et al. 2020, eq. 1; Chuang et al. 2020, eq. 8; Dong et al. 2024, eq. 3 and 4.)

    All exponents are shifted by their row's maximum, so the value and its gradient stay finite.
    An anchor with no live negative and one positive has loss exactly 0.
    """
    c, tau = candidates, context.temperature
    live = c.w_neg > 0
    pos = c.pos / tau
    neg = (torch.where(live, c.w_neg, 1).log() + c.neg / tau).masked_fill(~live, -torch.inf)
    shift = torch.cat([pos, neg], dim=1).amax(dim=1, keepdim=True).detach()
    negatives = (neg - shift).exp().sum(dim=1)
    if c.prior > 0:
        count = live.sum(dim=1).to(neg.dtype)
        false = c.prior * count * (pos[:, 0] - shift[:, 0]).exp()
        floor = count * (-1 / tau - shift[:, 0]).exp()
        negatives = torch.maximum((negatives - false) / (1 - c.prior), floor)
    own = (pos - shift).exp() * (c.w_pos > 0)
    positives = own.sum(dim=1, keepdim=True)
    others = (positives - own) + negatives.unsqueeze(1)
    everything = positives + negatives.unsqueeze(1)
    # -log(1 - others / everything) keeps the digits of a small loss, which log - log would cancel.
    share = others / everything
    loss = torch.where(
        share < 0.5, -torch.log1p(-share.clamp(max=0.5)), everything.log() - (pos - shift)
    )
    return (c.w_pos * loss).sum(dim=1).mean()


def regress(outputs: Outputs, context: Context) -> Tensor:
    """The squared distance of unit vectors, 2 - 2 cos(p1, k2), as a mean over the images.

    (Grill et al. 2020, BYOL, eq. 2.) The key carries no gradient.

    Notes: the paper adds the two directions; a symmetric term is their mean, half of it.
    """
    return 2 - 2 * cosine_similarity(outputs.need("p1"), outputs.stopped("k2"), dim=1).mean()


def distil(outputs: Outputs, context: Context, teacher_temperature: float) -> Tensor:
    """Cross-entropy of the online network's softmax with the twin's, over pairs of other crops.

    The twin sees the two global crops; its outputs are centred, then sharpened by
    `teacher_temperature`. The online network sees all crops, at the context's temperature.
    (Caron et al. 2021, DINO, eq. 1 to 4.) A scalar: the mean over images and pairs.

    Notes: the authors also clip gradients, hold the last layer fixed in the first epoch, let the
    weight decay grow and spare biases and norms from it, warm up by the step, blur and solarise
    the two global crops differently, and draw the head's first weights from a narrow normal; none
    of it is here.
    """
    seen = [
        outputs.need("z1"),
        outputs.need("z2"),
        *([] if outputs.local is None else outputs.local),
    ]
    logs = [(z / context.temperature).log_softmax(dim=1) for z in seen]
    pairs = []
    for which, name in enumerate(("k1", "k2")):
        centred = outputs.stopped(name) - outputs.stopped("centre")
        target = (centred / teacher_temperature).softmax(dim=1)
        pairs += [
            -(target * log).sum(dim=1).mean() for crop, log in enumerate(logs) if crop != which
        ]
    return torch.stack(pairs).mean()


def classify(outputs: Outputs, context: Context) -> Tensor:
    """Cross-entropy with the labels: the `supervised` control; projections are the logits."""
    logits = torch.cat([outputs.need("z1"), outputs.need("z2")])
    return cross_entropy(logits, outputs.need("labels"))
