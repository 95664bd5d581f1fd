import pytest
import torch

from edgesmith.compress.focal import Focus, check_values, focal_loss
from edgesmith.errors import UsageError

Z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randint(-1, 2, (4, 6), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.float32, torch.float64])
def test_targets_of_any_type_mean_the_same(dtype) -> None:
    focus = Focus(1.0, 4.0, 2.0, 0.05)
    assert torch.equal(focal_loss(Z, Y.to(dtype), focus), focal_loss(Z, Y, focus))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 3.0, 8.0])
def test_whole_exponents_as_products_are_powers(exponent) -> None:
    first, second = Z.double().requires_grad_(), Z.double().requires_grad_()
    focal_loss(first, Y, Focus(exponent, exponent, exponent, 0.1)).backward()
    tensor = torch.tensor(exponent, dtype=torch.float64)
    loss = focal_loss(second, Y, Focus(tensor, tensor, tensor, 0.1))
    loss.backward()
    assert torch.allclose(first.grad, second.grad)


def test_a_retained_graph_gives_the_same_gradient_twice() -> None:
    z = Z.clone().requires_grad_()
    loss = 3 * focal_loss(z, Y, Focus(1.0, 2.0), reduction="mean")
    (once,) = torch.autograd.grad(loss, z, retain_graph=True)
    kept = once.clone()
    (twice,) = torch.autograd.grad(loss, z)
    assert torch.equal(kept, twice) and torch.equal(once, kept)


def test_the_mean_is_over_all_entries() -> None:
    focus = Focus(0.0, 4.0, None, 0.05)
    assert torch.allclose(focal_loss(Z, Y, focus, reduction="mean"), focal_loss(Z, Y, focus) / 24)
    assert float(focal_loss(torch.zeros(0, 6), torch.zeros(0, 6), focus, reduction="mean")) == 0


def test_weights_are_broadcast() -> None:
    focus, rows, columns = Focus(0.0, 2.0, 1.0), torch.rand(4, 1), torch.rand(6)
    expected = sum(
        focal_loss(Z[i : i + 1, c : c + 1], Y[i : i + 1, c : c + 1], focus)
        * rows[i, 0]
        * (columns[c] if Y[i, c] == -1 else 1)
        for i in range(4)
        for c in range(6)
    )
    assert torch.allclose(focal_loss(Z, Y, focus, rows, columns), expected)


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        (torch.full((4, 6), 2), "2 at (0, 0)"), (torch.full((4, 6), 0.5), "0.5 at"),
        (torch.full((4, 6), float("nan")), "nan at"), (Y[:, :5], "(4, 5)"), (Y[0], "(6,)"),
    ],
)  # fmt: skip
def test_wrong_targets_are_named(targets, found) -> None:
    with pytest.raises(UsageError) as caught:
        focal_loss(Z, targets, Focus(0.0, 0.0))
    assert found in str(caught.value)


@pytest.mark.parametrize("numbers", [(-1.0, 0.0), (0.0, float("nan")), (0.0, 0.0, -2.0), (0.0, 0.0, None, 1.0),
                                     (0.0, 0.0, None, 1e-9)])  # fmt: skip
def test_wrong_numbers_are_named(numbers) -> None:
    with pytest.raises(UsageError, match="a focal loss"):
        Focus(*numbers)


def test_the_first_wrong_value_is_found() -> None:
    check_values(Y)
    with pytest.raises(UsageError, match=r"3 at \(1, 2\)"):
        check_values(torch.tensor([[0, 1, -1], [0, 0, 3]]))


@pytest.mark.slow
def test_the_compiled_pass_is_the_plain_one() -> None:
    first, second, focus = Z.clone().requires_grad_(), Z.clone().requires_grad_(), Focus(1.0, 4.0, 2.0, 0.05)
    plain, fused = focal_loss(first, Y, focus), focal_loss(second, Y, focus, compiled=True)
    plain.backward()
    fused.backward()
    assert torch.allclose(plain, fused) and torch.allclose(first.grad, second.grad, atol=1e-6)
