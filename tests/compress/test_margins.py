import math

import pytest
import torch
import torch.nn.functional as F

from edgesmith.compress.margins import AdaFace, Combined, MarginLogits, arcface, cosface, make_margin, unit_rows
from edgesmith.errors import UsageError

DOUBLE = torch.float64
ONE = torch.ones(1, dtype=DOUBLE)
LABELS = torch.tensor([0, 3, 3, 2, 1])
COMBINED = [Combined(1, 0.5, 0), Combined(1, 0, 0.4), Combined(1.35, 0.2, 0.1), Combined(4, 0, 0), Combined(1, 2.9, 0)]


def tables(d: int = 6, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(1)
    z = torch.randn(5, d, generator=made, dtype=DOUBLE) * torch.arange(1, 6)[:, None]
    return z, torch.randn(classes, d, generator=made, dtype=DOUBLE)


def clipped(mean: float) -> AdaFace:
    """One whose k does not depend on the length: a step of numerical differentiation must not change it."""
    margin = AdaFace().eval()
    margin.mean.fill_(mean), margin.std.fill_(0.01)
    return margin


def everything() -> list[MarginLogits]:
    margins = [*COMBINED, clipped(1000.0), clipped(-1000.0), None]
    return [MarginLogits(margin, 8.0) for margin in margins]


@pytest.mark.parametrize("face", everything())
def test_gradients_are_those_of_the_formula(face) -> None:
    z, w = (table.requires_grad_() for table in tables())
    assert torch.autograd.gradcheck(lambda a, b: face(a, b, LABELS).logits, (z, w))


def test_unit_rows_are_those_of_normalize_also_where_a_row_is_0() -> None:
    ours, theirs = (torch.cat([tables()[0], torch.zeros(1, 6)]).requires_grad_() for _ in range(2))
    assert torch.allclose(unit_rows(ours), F.normalize(theirs, dim=1))
    weights = torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    (unit_rows(ours) * weights).sum().backward(), (F.normalize(theirs, dim=1) * weights).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad)


def test_the_shift_alone_is_a_gradient_on_request() -> None:
    cos = torch.tensor([0.3], dtype=DOUBLE, requires_grad=True)
    exact, shift = arcface(0.5)(cos, ONE), arcface(0.5, exact=False)(cos, ONE)
    assert torch.equal(exact, shift)
    assert torch.autograd.grad(shift, cos)[0].item() == 1
    expected = math.cos(0.5) + 0.3 / math.sqrt(1 - 0.09) * math.sin(0.5)
    assert torch.autograd.grad(exact, cos)[0].item() == pytest.approx(expected)


@pytest.mark.parametrize("margin", [*COMBINED, AdaFace().eval()])
def test_a_larger_cosine_never_gets_a_smaller_logit(margin) -> None:
    cos = torch.linspace(-1, 1, 4001, dtype=DOUBLE)
    moved = margin(cos, torch.full_like(cos, 30.0))
    assert (moved.diff() >= 0).all() and (moved <= cos).all()


@pytest.mark.parametrize("margin", [*COMBINED, AdaFace().eval()])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("cos", [1.0, -1.0])
def test_gradients_are_finite_at_the_ends(margin, dtype, cos) -> None:
    """Also through the embeddings: one that lies on its centre, or opposite to it."""
    value = torch.tensor([cos], dtype=dtype, requires_grad=True)
    assert torch.autograd.grad(margin(value, torch.ones(1)).sum(), value)[0].isfinite().all()
    w = torch.randn(3, 5, dtype=dtype, generator=torch.Generator().manual_seed(0)).requires_grad_()
    z = (cos * 2 * w.detach()[:1]).requires_grad_()
    MarginLogits(margin)(z, w, torch.tensor([0])).logits.logsumexp(1).sum().backward()
    assert z.grad.isfinite().all() and w.grad.isfinite().all()


def test_a_perfect_target_still_has_a_gradient() -> None:
    cos = torch.ones(1, requires_grad=True)
    assert torch.autograd.grad(arcface(0.5)(cos, ONE), cos)[0].item() == pytest.approx(math.cos(0.5))


def test_an_embedding_of_length_0_is_finite() -> None:
    z = torch.zeros(1, 5, requires_grad=True)
    MarginLogits(arcface())(z, torch.randn(3, 5), torch.tensor([0])).logits.logsumexp(1).sum().backward()
    assert z.grad.isfinite().all()


def test_the_length_of_embeddings_and_centres_does_not_matter() -> None:
    z, w = tables()
    face = MarginLogits(cosface(), 8.0)
    assert torch.allclose(face(z, w, LABELS).logits, face(0.1 * z, 7 * w, LABELS).logits)


def test_a_label_that_is_elsewhere_leaves_the_row_as_it_is() -> None:
    z, w = tables()
    logits = MarginLogits(arcface(), 8.0)(z, w, torch.tensor([-1, 3, -1, 2, 1])).logits
    cosines = 8 * F.normalize(z) @ F.normalize(w).T
    assert torch.allclose(logits[[0, 2]], cosines[[0, 2]]) and not torch.allclose(logits[1], cosines[1])


def test_the_filter_drops_near_negatives_and_their_gradient_but_no_target() -> None:
    w = torch.eye(3, dtype=DOUBLE)
    z = torch.tensor([[0.8, 0.6, 0.0], [0.6, 0.8, 0.0]], dtype=DOUBLE, requires_grad=True)
    labels = torch.tensor([1, -1])
    logits = MarginLogits(cosface(0.1), 1.0, filter_above=0.7)(z, w, labels).logits
    assert torch.allclose(logits, torch.tensor([[0.0, 0.5, 0.0], [0.6, 0.0, 0.0]], dtype=DOUBLE))
    assert torch.autograd.grad(logits[0, 0], z)[0].abs().sum() == 0


def test_without_a_margin_it_is_a_linear_layer() -> None:
    z, w = tables()
    judged = MarginLogits(None, 64.0)(z, w, LABELS)
    assert torch.equal(judged.logits, z @ w.T) and torch.equal(judged.target, (z @ w.T)[range(5), LABELS])


def test_logits_are_fp32_under_autocast() -> None:
    z, w = (table.float() for table in tables())
    face = MarginLogits(arcface())
    with torch.autocast("cpu", torch.bfloat16):
        inside = face(z, w, LABELS).logits
    assert inside.dtype == torch.float32 and torch.equal(inside, face(z, w, LABELS).logits)
    assert face(z.bfloat16(), w, LABELS).logits.dtype == torch.float32


def test_adaface_follows_the_lengths_in_training_only() -> None:
    margin, norms = AdaFace(ema=0.25), torch.tensor([10.0, 20.0, 30.0])
    margin.quality(norms)
    assert margin.mean.item() == pytest.approx(20.0) and margin.std.item() == pytest.approx(0.75 * 100 + 0.25 * 10)
    before = margin.std.clone()
    margin.quality(norms[:1])  # a single embedding has no spread
    margin.eval().quality(norms)
    assert torch.equal(margin.std, before) and set(margin.state_dict()) == {"mean", "std"}


def test_adaface_quality_is_equation_14() -> None:
    margin = AdaFace(h=0.5).eval()
    margin.mean.fill_(20.0), margin.std.fill_(10.0 - 1e-3)
    assert margin.quality(torch.tensor([10.0, 22.0, 60.0])).tolist() == pytest.approx([-0.5, 0.1, 1.0])
    assert margin.quality(torch.tensor([1e9])).item() == 1.0


def test_adaface_takes_no_gradient_through_the_length() -> None:
    z, w = tables()
    z.requires_grad_()
    loss = F.cross_entropy(MarginLogits(AdaFace(ema=1.0), 8.0)(z, w, LABELS).logits, LABELS)
    along = (torch.autograd.grad(loss, z)[0] * z).sum(1)  # cosines do not change along z; the margin would
    assert along.abs().max() < 1e-9


def test_margins_by_name() -> None:
    assert make_margin("arcface") == Combined(1, 0.5, 0) and make_margin("cosface") == Combined(1, 0, 0.4)
    assert make_margin("arcface", 0.3, exact=False) == Combined(1, 0.3, 0, exact=False)
    assert make_margin("combined", margins=(1.0, 0.3, 0.2)) == Combined(1, 0.3, 0.2)
    assert make_margin("linear") is None and make_margin("adaface", 0.2).m == 0.2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: make_margin("sphereface"),
        lambda: make_margin("combined"),
        lambda: make_margin("combined", margins=(1.0, 0.5)),
        lambda: make_margin("arcface", margins=(1.0, 0.5, 0.0)),
        lambda: make_margin("linear", 0.5),
        lambda: Combined(0.5),
        lambda: arcface(4.0),
        lambda: cosface(-0.1),
        lambda: AdaFace(h=0),
        lambda: AdaFace(ema=0),
        lambda: MarginLogits(arcface(), 0.0),
        lambda: MarginLogits(None, filter_above=0.5),
        lambda: MarginLogits(arcface(), filter_above=1.5),
    ],
)
def test_wrong_numbers_are_usage_errors(wrong) -> None:
    with pytest.raises(UsageError):
        wrong()
