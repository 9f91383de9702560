"""Where a frozen encoder puts images on the unit sphere."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from reclaim.learning.frozen import CHUNK, Frozen
from reclaim.records import GeometryProtocol


def geometry(frozen: Frozen, protocol: GeometryProtocol) -> dict[str, float]:
    """Alignment and uniformity of the unit features of the test images.

    alignment = E |f(x) - f(x+)|^2 over two views of an image; uniformity =
    log E e^(-2 |f(x) - f(y)|^2) over pairs of different images.
    (Wang & Isola 2020, section 4.1, alpha = 2 and t = 2.)
    """
    test = frozen.images.test
    one, two = (
        normalize(frozen.embed(test, protocol.views, name), dim=1) for name in ("view 1", "view 2")
    )
    clean = normalize(frozen.embed(test, protocol.test_views), dim=1).double()
    total = torch.zeros((), dtype=torch.float64, device=frozen.device)
    for start in range(0, len(clean), CHUNK):
        squared = (2 - 2 * clean[start : start + CHUNK] @ clean.T).clamp(min=0)
        total += (-2 * squared).exp().sum()
    pairs = len(clean) * (len(clean) - 1)
    own = torch.full((), float(len(clean)), dtype=torch.float64)
    return {
        "alignment": (one - two).square().sum(dim=1).mean().item(),
        "uniformity": ((total.cpu() - own) / pairs).log().item(),
    }
