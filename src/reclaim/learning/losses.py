"""The in-batch losses as one function, for a training loop of one's own."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reclaim.learning import candidates, objectives, steps
from reclaim.records import ReclaimError, Term
from reclaim.registry.recipes import RECIPES, Recipe, Value, knobs_of, resolve_terms


def term_loss(term: Term, outputs: candidates.Outputs, context: candidates.Context) -> Tensor:
    """One term: pairing, steps in order, loss (a scalar); symmetric ones both ways round."""
    if term.symmetric:
        one_way = term.model_copy(update={"symmetric": False})
        ways = [term_loss(one_way, seen, context) for seen in (outputs, outputs.swapped())]
        return torch.stack(ways).mean()
    minimised = getattr(objectives, term.loss)
    if term.pairing is None:
        return minimised(outputs, context, **term.loss_knobs)
    paired = getattr(candidates, term.pairing)(outputs, **term.pairing_knobs)
    for step in term.steps:
        paired = getattr(steps, step.name)(paired, context, **step.knobs)
    return minimised(paired, context, **term.loss_knobs)


def total_loss(
    terms: tuple[Term, ...], outputs: candidates.Outputs, context: candidates.Context
) -> Tensor:
    """The weighted sum of a recipe's terms."""
    return torch.stack([term.weight * term_loss(term, outputs, context) for term in terms]).sum()


def loss(
    name: str,
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float = 0.5,
    generator: torch.Generator | None = None,
    **knobs: Value,
) -> Tensor:
    """The loss of an in-batch recipe on the projections of two views.

    name: a recipe such as "simclr", "dcl", "hcl" or "sscl".
    z1, z2 (B, D): projections, normalised inside.
    temperature: tau. generator: where the mixing draws come from (default: torch's global one).
    knobs: prior (tau+, 0.1), beta (1.0), hardest (s, max(2, B // 8)), synthetics
    (k, max(1, B // 32)), threshold (theta, 0.75), delta (0.5), unit_interval (False); those a
    recipe has no use for are accepted and ignored.

    Returns a scalar tensor. Raises ValueError for an unknown recipe or knob, one that needs more
    than two projections, a value out of range, or z1 and z2 of different shape.

    >>> import torch
    >>> z = torch.eye(2, 4)
    >>> round(loss("simclr", z, z).item(), 4)
    0.2395
    """
    in_batch = [row for row, recipe in RECIPES.items() if _is_in_batch(recipe)]
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; in-batch losses: {', '.join(in_batch)}")
    if name not in in_batch:
        raise ValueError(
            f"{name!r} is no loss on two projections: {_needs(RECIPES[name])}; "
            f"in-batch losses: {', '.join(in_batch)}"
        )
    known = sorted({knob for row in in_batch for knob in knobs_of(row)})
    unknown = sorted(set(knobs) - set(known))
    if unknown:
        raise ValueError(f"unknown knob {unknown[0]!r}; known: {', '.join(known)}")
    if z1.ndim != 2 or z1.shape != z2.shape or len(z1) < 2:
        raise ValueError(
            f"z1 and z2 must both be (B, D) with B of 2 or more, not {tuple(z1.shape)} and "
            f"{tuple(z2.shape)}"
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be above 0, not {temperature}")
    try:
        terms = resolve_terms(name, len(z1), knobs)
    except ReclaimError as error:
        raise ValueError(str(error)) from error
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = (z if z.dtype is torch.float64 else z.float() for z in (z1, z2))
        context = candidates.Context(temperature, generator)
        return total_loss(terms, candidates.Outputs(z1, z2), context)


def _is_in_batch(row: Recipe) -> bool:
    one_pairing = {term.pairing for term in row.terms} == {"in_batch"}
    return one_pairing and row.init is None


def _needs(row: Recipe) -> str:
    if row.init is not None:
        return f"it needs an encoder that {row.init} trained"
    if row.twin is not None:
        return "it needs an EMA twin" + " and a queue" * row.queue
    return "it needs labels or no training at all"
