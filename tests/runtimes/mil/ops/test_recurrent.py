import numpy as np
import pytest
import torch

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import run_op
from tests.runtimes.mil.recurrent_cases import ACT, CASES, B, H, N, S, checked, drawn
from tests.runtimes.mil.versions import versions


@pytest.mark.parametrize(("direction", "sequence", "bias"), CASES)
@pytest.mark.parametrize("opset", versions("rnn"))
def test_rnn(opset, direction, sequence, bias):
    x, h, w, r, b = drawn(S, B, N), drawn(B, H), drawn(H, N), drawn(H, H), drawn(H)
    given = {"weight_ih": w, "weight_hh": r} | ({"bias": b} if bias else {})
    for activation in ("tanh", "relu", "sigmoid"):
        found = run_op(
            "rnn",
            {"x": x, "initial_h": h},
            opset,
            direction=direction,
            output_sequence=sequence,
            activation=activation,
            **given,
        )
        state, steps = h, []
        for step in x[::-1] if direction == "reverse" else x:
            state = ACT[activation](step @ w.T + state @ r.T + b * bias)
            steps.append(state)
        checked(found, steps, [state], sequence)


@pytest.mark.parametrize(("direction", "sequence", "bias"), CASES)
@pytest.mark.parametrize("opset", versions("gru"))
def test_gru(opset, direction, sequence, bias):
    x, h, w, r, b = drawn(S, B, N), drawn(B, H), drawn(3 * H, N), drawn(3 * H, H), drawn(3 * H)
    given = {"weight_ih": w, "weight_hh": r} | ({"bias": b} if bias else {})
    for inner, outer in (("sigmoid", "tanh"), ("hard_sigmoid", "relu")):
        found = run_op(
            "gru",
            {"x": x, "initial_h": h},
            opset,
            direction=direction,
            output_sequence=sequence,
            recurrent_activation=inner,
            activation=outer,
            **given,
        )
        (w_r, w_o, w_z), (r_r, r_o, r_z), (b_r, b_o, b_z) = (np.split(m, 3) for m in (w, r, b * bias))
        state, steps = h, []
        for step in x[::-1] if direction == "reverse" else x:
            reset = ACT[inner](step @ w_r.T + state @ r_r.T + b_r)
            update = ACT[inner](step @ w_z.T + state @ r_z.T + b_z)
            new = ACT[outer](step @ w_o.T + (reset * state) @ r_o.T + b_o)
            state = (1 - update) * new + update * state
            steps.append(state)
        checked(found, steps, [state], sequence)


def rzo(matrix):
    """PyTorch's order of the gates, r z n, in MIL's, r n z."""
    r, z, n = matrix.detach().numpy().reshape(3, H, -1)
    return np.concatenate([r, n, z]).squeeze()


def test_gru_that_resets_after_the_product_is_the_one_of_pytorch():
    torch.manual_seed(0)
    layer = torch.nn.GRU(N, H)
    x, h = torch.rand(S, B, N), torch.rand(1, B, H)
    with torch.no_grad():
        steps, last = layer(x, h)
    found = run_op(
        "gru",
        {"x": x.numpy(), "initial_h": h[0].numpy()},
        "ios18",
        weight_ih=rzo(layer.weight_ih_l0),
        weight_hh=rzo(layer.weight_hh_l0),
        input_bias=rzo(layer.bias_ih_l0),
        bias=rzo(layer.bias_hh_l0),
        reset_after=True,
        output_sequence=True,
    )
    checked(found, list(steps.numpy()), [last[0].numpy()], True)


def test_in_the_mode_fp16_a_layer_gives_halves():
    x, h, w, r = drawn(S, B, N), drawn(B, H), drawn(H, N), drawn(H, H)
    half = [value.astype(np.float16) for value in (x, h, w, r)]
    (found, _) = run_op(
        "rnn",
        {"x": half[0], "initial_h": half[1]},
        mode="fp16",
        weight_ih=half[2],
        weight_hh=half[3],
        output_sequence=True,
    )
    np.testing.assert_array_equal(found, found.astype(np.float16))


def test_an_unknown_activation_is_an_error_that_lists_the_others():
    given = {"weight_ih": drawn(H, N), "weight_hh": drawn(H, H), "activation": "swish"}
    with pytest.raises(EngineFailed, match=r"run the operation rnn .*activation 'swish': it is one of sigmoid"):
        run_op("rnn", {"x": drawn(S, B, N), "initial_h": drawn(B, H)}, **given)
