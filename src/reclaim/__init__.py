"""Re-run what papers on contrastive learning claim, and say what holds.

`reclaim.loss` is imported when it is first used: `import reclaim` brings no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reclaim.learning.losses import loss

__all__ = ["loss"]


def __getattr__(name: str) -> Any:
    if name == "loss":
        from reclaim.learning.losses import loss

        return loss
    raise AttributeError(f"module 'reclaim' has no attribute {name!r}")
