"""`reclaim.loss` against the slow loops: values, gradients, extremes, symmetries."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import reclaim
from reclaim.learning.steps import draw_pairs
from tests.loops import contrast as loop
from tests.loops.differences import gradient
from tests.loops.tensors import exact, exact_draws

# which knobs a recipe listens to, from the papers' ablation tables
KNOBS: dict[str, tuple[str, ...]] = {
    "simclr": (),
    "dcl": ("prior",),
    "hcl": ("prior", "beta"),
    "sscl_synthesis": ("hardest", "synthetics"),
    "sscl_synthesis_debias": ("hardest", "synthetics", "prior"),
    "sscl": ("hardest", "synthetics", "prior", "beta"),
    "sscl_released": ("hardest", "synthetics", "prior", "beta"),
}
NAMES = sorted(KNOBS)
MIXING = [name for name in NAMES if "synthetics" in KNOBS[name]]
DEFAULTS = {"prior": 0.1, "beta": 1.0}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def projections(seed: int, batch: int, dim: int, spread: float | None = None) -> tuple[Tensor, ...]:
    """Two (batch, dim) float64 projections: unrelated, or view 2 within `spread` of view 1."""
    z1, z2 = torch.randn(2, batch, dim, dtype=torch.float64, generator=generator(seed))
    return (z1, z2) if spread is None else (z1, z1 + spread * z2)


def fast(name: str, z1: Tensor, z2: Tensor, temperature: float, knobs: dict[str, Any]) -> Tensor:
    used = {knob: knobs[knob] for knob in KNOBS[name] if knob in knobs}
    if name in MIXING:
        used["generator"] = generator(7)
    return reclaim.loss(name, z1, z2, temperature=temperature, **used)


def near(value: float) -> Any:
    """Equal to 1e-12 relative, however small the loss."""
    return pytest.approx(value, rel=1e-12, abs=0)


class Slow:
    """A recipe's slow loss as a function of z1 and z2, with the draws that `fast` makes."""

    def __init__(
        self, name: str, z1: Tensor, z2: Tensor, temperature: float, knobs: dict[str, Any]
    ) -> None:
        used = {knob: knobs[knob] for knob in KNOBS[name] if knob in knobs}
        used = {knob: value for knob, value in DEFAULTS.items() if knob in KNOBS[name]} | used
        self.temperature = Decimal(temperature)
        self.prior = Decimal(used.get("prior", 0))
        self.beta = Decimal(used.get("beta", 0))
        self.synthetics = None
        if name in MIXING:
            s = used.get("hardest", max(2, len(z1) // 8))
            k = used.get("synthetics", max(1, len(z1) // 32))
            drawn = draw_pairs(2 * len(z1), s, k, generator(7), z1.dtype, z1.device)
            draws = exact_draws(drawn.first, drawn.second, drawn.alpha)
            mix = name != "sscl_released"
            self.synthetics = loop.synthesise(exact(z1), exact(z2), draws, s, mix)

    def clamped(self, z1: Tensor, z2: Tensor) -> list[bool]:
        """For which anchors the debiased sum falls to its floor N e^{-1/t}."""
        rows = loop.similarities(loop.unit_rows(exact(z1), exact(z2)), self.synthetics)
        knobs = self.temperature, self.prior, self.beta
        floor = (-1 / self.temperature).exp()
        return [loop.negative_term(s, n, *knobs) == len(n) * floor for s, n in rows]

    def __call__(self, z1: loop.Matrix, z2: loop.Matrix) -> Decimal:
        return loop.loss(z1, z2, self.temperature, self.prior, self.beta, self.synthetics)


def slow(name: str, z1: Tensor, z2: Tensor, temperature: float, knobs: dict[str, Any]) -> float:
    return float(Slow(name, z1, z2, temperature, knobs)(exact(z1), exact(z2)))


@st.composite
def cases(draw: st.DrawFn, batches: int = 5) -> tuple[Tensor, Tensor, float, dict[str, Any]]:
    """Projections, a temperature and every knob within its range."""
    batch = draw(st.integers(2, batches))
    spread = draw(st.sampled_from([None, 1.0]))
    z1, z2 = projections(draw(st.integers(0, 9999)), batch, draw(st.integers(2, 6)), spread)
    knobs = {
        "prior": draw(st.sampled_from([0.0, 0.05, 0.1, 0.5])),
        "beta": draw(st.sampled_from([0.0, 0.5, 1.0, 3.0])),
        "hardest": draw(st.integers(1, 2 * batch - 2)),
        "synthetics": draw(st.integers(0, 2 * batch - 2)),
    }
    return z1, z2, draw(st.sampled_from([0.2, 0.5, 1.0, 7.0])), knobs


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@given(case=cases())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_equals_the_slow_loop(
    name: str, case: tuple[Tensor, Tensor, float, dict[str, Any]]
) -> None:
    assert fast(name, *case).item() == near(slow(name, *case))


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_the_documented_ones(name: str) -> None:
    """prior 0.1, beta 1, temperature 0.5, s = B/8 = 8 and k = B/32 = 2 at B = 64."""
    z1, z2 = projections(3, 64, 4)
    used: dict[str, Any] = {"generator": generator(7)} if name in MIXING else {}
    expected = slow(name, z1, z2, 0.5, {})
    assert reclaim.loss(name, z1, z2, **used).item() == near(expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.05, 10.0])
def test_equals_the_slow_loop_at_extreme_temperatures(name: str, temperature: float) -> None:
    z1, z2 = projections(11, 4, 5)
    knobs = {"hardest": 3, "synthetics": 2}
    expected = slow(name, z1, z2, temperature, knobs)
    assert fast(name, z1, z2, temperature, knobs).item() == near(expected)


@pytest.mark.parametrize("name", [name for name in NAMES if "prior" in KNOBS[name]])
def test_the_active_clamp_equals_the_slow_loop(name: str) -> None:
    """Close views and a large prior: log(1 + N e^{-(1 + s+)/t}) whatever the negatives are."""
    z1, z2 = projections(5, 4, 6, spread=0.1)
    knobs = {"prior": 0.8, "beta": 0.5, "hardest": 3, "synthetics": 2}
    assert all(Slow(name, z1, z2, 0.5, knobs).clamped(z1, z2))
    n = 6 + 2 * (name in MIXING)
    s = torch.cosine_similarity(z1, z2)
    closed = (1 + n * (-(1 + s) / 0.5).exp()).log().mean().item()
    assert slow(name, z1, z2, 0.5, knobs) == pytest.approx(closed, rel=1e-12)
    assert fast(name, z1, z2, 0.5, knobs).item() == near(closed)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_equal_embeddings_give_log_one_plus_n(name: str, temperature: float) -> None:
    """Also where debiased: (N e - prior N e) / (1 - prior) = N e, above the clamp."""
    z = torch.tensor([[3.0, -4.0, 12.0]], dtype=torch.float64).repeat(6, 1)
    n = 10 + 3 * (name in MIXING)
    value = fast(name, z, z, temperature, {"hardest": 4, "synthetics": 3})
    assert value.item() == pytest.approx(math.log(1 + n), rel=1e-12)


@pytest.mark.parametrize("prior", [0.1, 0.5])
def test_orthogonal_pairs_clamp_at_a_large_prior_only(prior: float) -> None:
    z = torch.eye(4, dtype=torch.float64)
    g = 6 * max((1 - prior * math.exp(2)) / (1 - prior), math.exp(-2))
    value = reclaim.loss("dcl", z, z, temperature=0.5, prior=prior)
    assert (g == 6 * math.exp(-2)) == (prior == 0.5)
    assert value.item() == pytest.approx(math.log(1 + g * math.exp(-2)), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_a_scalar_of_the_inputs_precision(name: str, dtype: torch.dtype) -> None:
    z1, z2 = (z.to(dtype) for z in projections(2, 8, 4))
    value = fast(name, z1, z2, 0.5, {})
    assert value.dtype == dtype and value.shape == ()
    assert value.item() == pytest.approx(slow(name, z1, z2, 0.5, {}), rel=1e-5)


# --- gradients ------------------------------------------------------------------------------------


def check_gradient(
    name: str, z1: Tensor, z2: Tensor, temperature: float, knobs: dict[str, Any]
) -> None:
    """Synthetics, draws and the choice of the hardest are held fixed; the weights are not."""
    reference = Slow(name, z1, z2, temperature, knobs)
    batch = len(z1)
    expected = gradient(lambda z: reference(z[:batch], z[batch:]), exact(torch.cat([z1, z2])))
    leaves = (z1.clone().requires_grad_(), z2.clone().requires_grad_())
    found = torch.cat(torch.autograd.grad(fast(name, *leaves, temperature, knobs), leaves))
    wanted = torch.tensor([[float(x) for x in row] for row in expected], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@given(case=cases(batches=3))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_gradient_equals_differences_of_the_slow_loop(
    name: str, case: tuple[Tensor, Tensor, float, dict[str, Any]]
) -> None:
    check_gradient(name, *case)


@pytest.mark.parametrize(("prior", "clamps"), [(0.02, False), (0.8, True)])
def test_gradient_on_either_side_of_the_clamp(prior: float, clamps: bool) -> None:
    z1, z2 = projections(5, 3, 6, spread=0.3)
    knobs = {"prior": prior, "hardest": 3, "synthetics": 2}
    assert Slow("sscl", z1, z2, 0.5, knobs).clamped(z1, z2) == [clamps] * 6
    check_gradient("sscl", z1, z2, 0.5, knobs)


# --- extremes -------------------------------------------------------------------------------------

AWKWARD = {
    "unrelated": lambda z, noise: (z, noise),
    "close": lambda z, noise: (z, z + 1e-3 * noise),
    "same view": lambda z, noise: (z, z),
    "near duplicates": lambda z, noise: (z[:1] + 1e-6 * z, z[:1] + 1e-6 * noise),
    "all equal": lambda z, noise: (z[:1].repeat(len(z), 1), z[:1].repeat(len(z), 1)),
    "opposed views": lambda z, noise: (z, -z),
    "two poles": lambda z, noise: (
        z[:1] * torch.tensor([[1.0], [-1.0]]).repeat(len(z) // 2, 1),
        z[:1] * torch.tensor([[1.0], [-1.0]]).repeat(len(z) // 2, 1),
    ),
    "huge": lambda z, noise: (1e15 * z, 1e-15 * noise),
}


@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.1, 0.5, 1.0, 10.0])
@pytest.mark.parametrize("data", sorted(AWKWARD))
@pytest.mark.parametrize("name", NAMES)
def test_finite_in_float32(name: str, data: str, temperature: float) -> None:
    z, noise = torch.randn(2, 8, 5, generator=generator(4))
    for prior in (0.0, 0.1, 0.9):
        leaves = [z.detach().clone().requires_grad_() for z in AWKWARD[data](z, noise)]
        knobs = {"prior": prior, "beta": 2.0, "hardest": 3, "synthetics": 4}
        value = fast(name, leaves[0], leaves[1], temperature, knobs)
        assert math.isfinite(value.item())
        assert value.item() >= 0
        assert all(slope.isfinite().all() for slope in torch.autograd.grad(value, leaves))


# --- other people's NT-Xent -----------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
@pytest.mark.parametrize(("batch", "dim"), [(2, 3), (9, 16), (32, 128)])
def test_simclr_equals_two_libraries(batch: int, dim: int, temperature: float) -> None:
    lightly = pytest.importorskip("lightly.loss")
    metric = pytest.importorskip("pytorch_metric_learning.losses")
    others = [
        lightly.NTXentLoss(temperature=temperature),
        metric.SelfSupervisedLoss(metric.NTXentLoss(temperature=temperature)),
    ]
    for other in others:
        ours = [z.requires_grad_() for z in projections(8, batch, dim)]
        theirs = [z.detach().clone().requires_grad_() for z in ours]
        value = reclaim.loss("simclr", *ours, temperature=temperature)
        expected = other(*theirs)
        assert value.item() == pytest.approx(expected.item(), rel=1e-6)
        slopes = torch.autograd.grad(value, ours)
        torch.testing.assert_close(
            slopes, torch.autograd.grad(expected, theirs), rtol=1e-6, atol=1e-9
        )


# --- symmetries -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MIXING])
@given(case=cases(batches=8), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_unchanged_by_order_rotation_and_length(
    name: str, case: tuple[Tensor, Tensor, float, dict[str, Any]], seed: int
) -> None:
    z1, z2, temperature, knobs = case
    batch, dim = z1.shape
    order = torch.randperm(batch, generator=generator(seed))
    square = torch.randn(dim, dim, dtype=z1.dtype, generator=generator(seed))
    rotation = torch.linalg.qr(square).Q
    length = torch.rand(batch, 1, dtype=z1.dtype, generator=generator(seed)) + 0.1
    value = fast(name, z1, z2, temperature, knobs).item()
    for changed in [
        (z1[order], z2[order]),
        (z2, z1),
        (z1 @ rotation, z2 @ rotation),
        (length * z1, z2 / length),
    ]:
        assert fast(name, *changed, temperature, knobs).item() == near(value)


@pytest.mark.parametrize("name", MIXING)
def test_mixing_is_a_function_of_the_generator_alone(name: str) -> None:
    z1, z2 = projections(6, 8, 4)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    value = fast(name, z1, z2, 0.5, {})
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(fast(name, z1, z2, 0.5, {}), value)
    other = reclaim.loss(name, z1, z2, generator=generator(8))
    assert not torch.equal(other, value)


# --- faults ---------------------------------------------------------------------------------------


def test_an_unknown_name_lists_the_known_ones() -> None:
    z1, z2 = projections(1, 4, 3)
    with pytest.raises(ValueError, match="simclrr") as caught:
        reclaim.loss("simclrr", z1, z2)
    assert all(name in str(caught.value) for name in NAMES)


def test_an_unknown_knob_lists_the_known_ones() -> None:
    z1, z2 = projections(1, 4, 3)
    with pytest.raises(ValueError, match="betta") as caught:
        reclaim.loss("sscl", z1, z2, betta=1.0)
    known = ("prior", "beta", "hardest", "synthetics")
    assert all(knob in str(caught.value) for knob in known)


@pytest.mark.parametrize(
    ("name", "need"),
    [
        ("moco_v2", "queue"),
        ("byol", "twin"),
        ("psm_soft", "EMA twin and a queue"),
        ("simclr_dino", "encoder that dino trained"),
        ("supervised", "labels"),
        ("untrained", "training"),
        ("raw_pixels", "training"),
    ],
)
def test_a_recipe_that_needs_more_says_what(name: str, need: str) -> None:
    z1, z2 = projections(1, 4, 3)
    with pytest.raises(ValueError, match=rf"{name}.*need.*{need}"):
        reclaim.loss(name, z1, z2)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("simclr", {"temperature": 0.0}),
        ("simclr", {"temperature": -0.5}),
        ("simclr", {"temperature": math.nan}),
        ("simclr", {"temperature": math.inf}),
        ("dcl", {"prior": 1.0}),
        ("dcl", {"prior": -0.1}),
        ("dcl", {"prior": math.nan}),
        ("hcl", {"beta": -1.0}),
        ("hcl", {"beta": math.nan}),
        ("sscl", {"hardest": 0}),
        ("sscl", {"hardest": 7}),
        ("sscl", {"synthetics": 7}),
        ("sscl", {"synthetics": -1}),
        ("sscl", {"hardest": 2.5}),
    ],
)
def test_a_knob_out_of_range_is_refused_by_name(name: str, bad: dict[str, Any]) -> None:
    """Four images: an anchor has six negatives."""
    z1, z2 = projections(1, 4, 3)
    with pytest.raises(ValueError, match=next(iter(bad))):
        reclaim.loss(name, z1, z2, **bad)


@pytest.mark.parametrize(
    ("first", "second"), [((4, 3), (3, 3)), ((4, 3), (4, 2)), ((4,), (4,)), ((1, 3), (1, 3))]
)
def test_projections_that_make_no_batch_are_refused(
    first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    """Views of different shape, vectors instead of a batch, a batch without negatives."""
    with pytest.raises(ValueError, match=r"\(B, D\)"):
        reclaim.loss("simclr", torch.ones(first), torch.ones(second))
