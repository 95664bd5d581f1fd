import pytest
import torch

from edgesmith.models.cell_ops import OPERATIONS, Cell, FactorizedReduce, Place, places, sources


@pytest.mark.parametrize("name", list(OPERATIONS))
@pytest.mark.parametrize(("stride", "side"), [(1, 8), (2, 8), (2, 7)])
def test_operations_agree_on_the_shape(name, stride, side) -> None:
    expected = (2, 4, -(-side // stride), -(-side // stride))
    assert OPERATIONS[name](4, stride, True)(torch.randn(2, 4, side, side)).shape == expected


def test_the_average_pool_leaves_the_border_out() -> None:
    assert torch.equal(OPERATIONS["avg3"](1, 1, True)(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_skip_is_the_identity_and_none_is_zero() -> None:
    x = torch.randn(1, 2, 4, 4)
    assert OPERATIONS["skip"](2, 1, True)(x) is x and not OPERATIONS["none"](2, 1, True)(x).any()


def test_a_factorized_reduction_sees_all_four_quarters_of_the_pixels() -> None:
    layer = FactorizedReduce(1, 2, False).eval()
    torch.nn.init.ones_(layer.first.weight)
    torch.nn.init.ones_(layer.second.weight)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    y = layer(x) * (1 + layer.bn.eps) ** 0.5
    assert torch.allclose(y[0, 0], x[0, 0, ::2, ::2]) and torch.allclose(y[0, 1], x[0, 0, 1::2, 1::2])


def test_reductions_stand_at_a_third_and_two_thirds() -> None:
    rows = places(20, (108, 108), 36, False)
    assert [i for i, row in enumerate(rows) if row.kind == "reduce"] == [6, 13]
    assert [row.channels for row in rows[5:8]] == [36, 72, 72] and rows[-1].channels == 144
    assert [i for i, row in enumerate(rows) if row.after_reduction] == [7, 14]
    assert (rows[8].before, rows[8].previous) == (288, 288) and (rows[7].before, rows[7].previous) == (144, 288)


def cell() -> Cell:
    inputs = {node: names[:2] for node, names in sources("normal").items()}
    return Cell(Place("normal", 2, 2, 2, False), inputs, lambda edge, c, s: OPERATIONS["max3"](c, s, True))


def test_drop_path_drops_whole_samples_in_training_and_keeps_the_mean() -> None:
    one, x = cell(), torch.rand(400, 2, 4, 4)
    with torch.no_grad():
        plain = one._edge("normal_0_2", x, None)
        one.drop_path = 0.25
        torch.manual_seed(0)
        dropped = one._edge("normal_0_2", x, None)
    gone = dropped.flatten(1).abs().sum(1) == 0
    assert 60 < int(gone.sum()) < 140 and torch.allclose(dropped[~gone], plain[~gone] / 0.75)
    assert torch.equal(one.eval()._edge("normal_0_2", x, None), plain)


def test_the_output_is_the_four_nodes_side_by_side() -> None:
    assert cell()(torch.randn(2, 2, 4, 4), torch.randn(2, 2, 4, 4)).shape == (2, 8, 4, 4)
