import numpy as np
import pytest
import torch

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import run_op
from tests.runtimes.mil.versions import versions

S, B, N, H = 5, 2, 3, 4
RNG = np.random.default_rng(9)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACT = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "scaled_tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
}


def drawn(*shape):
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def checked(found, steps, last, output_sequence):
    """steps: h of every step in the order in which the layer makes them."""
    expected = np.stack(steps) if output_sequence else steps[-1][None]
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-6)
    for part, value in zip(found[1:], last, strict=True):
        np.testing.assert_allclose(part, value, rtol=1e-4, atol=1e-6)


CASES = [
    (direction, sequence, bias)
    for direction in ("forward", "reverse")
    for sequence in (False, True)
    for bias in (False, True)
]


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


def lstm_steps(x, h, c, weights, acts=("sigmoid", "tanh", "tanh"), clip=None):
    w, r, b, p = weights
    gate, inner, outer = (ACT[name] for name in acts)
    steps = []
    for step in x:
        i, f, o, z = np.split(step @ w.T + h @ r.T + b, 4, -1)
        p_i, p_f, p_o = np.split(p, 3)
        c = gate(f + p_f * c) * c + gate(i + p_i * c) * inner(z)
        c = c if clip is None else np.clip(c, -clip, clip)
        h = gate(o + p_o * c) * outer(c)
        steps.append(h)
    return steps, h, c


def lstm_weights():
    return drawn(4 * H, N), drawn(4 * H, H), drawn(4 * H), drawn(3 * H)


NAMES = ("weight_ih", "weight_hh", "bias", "peephole")


@pytest.mark.parametrize(("direction", "sequence", "peephole"), CASES)
@pytest.mark.parametrize("opset", versions("lstm"))
def test_lstm(opset, direction, sequence, peephole):
    x, h, c, weights = drawn(S, B, N), drawn(B, H), drawn(B, H), lstm_weights()
    acts = ("sigmoid", "tanh", "tanh") if peephole else ("hard_sigmoid", "relu", "scaled_tanh")
    given = dict(zip(NAMES, weights)) if peephole else dict(zip(NAMES[:2], weights))
    if not peephole:
        weights = (*weights[:2], np.zeros(4 * H), np.zeros(3 * H))
    for clip in (None, 0.3):
        found = run_op(
            "lstm",
            {"x": x, "initial_h": h, "initial_c": c},
            opset,
            direction=direction,
            output_sequence=sequence,
            recurrent_activation=acts[0],
            cell_activation=acts[1],
            activation=acts[2],
            **given,
            **({} if clip is None else {"clip": np.float32(clip)}),
        )
        steps, *last = lstm_steps(x[::-1] if direction == "reverse" else x, h, c, weights, acts, clip)
        checked(found, steps, last, sequence)


@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("opset", versions("lstm"))
def test_lstm_in_both_directions_keeps_the_order_of_the_input(opset, sequence):
    x, h, c, there, back = drawn(S, B, N), drawn(B, 2 * H), drawn(B, 2 * H), lstm_weights(), lstm_weights()
    found = run_op(
        "lstm",
        {"x": x, "initial_h": h, "initial_c": c},
        opset,
        direction="bidirectional",
        output_sequence=sequence,
        **dict(zip(NAMES, there)),
        **{f"{name}_back": value for name, value in zip(NAMES, back)},
    )
    steps, h_there, c_there = lstm_steps(x, h[:, :H], c[:, :H], there)
    steps_back, h_back, c_back = lstm_steps(x[::-1], h[:, H:], c[:, H:], back)
    last = np.concatenate([h_there, h_back], -1)
    both = [np.concatenate(pair, -1) for pair in zip(steps, steps_back[::-1])] if sequence else [last]
    checked(found, both, [last, np.concatenate([c_there, c_back], -1)], sequence)


def test_lstm_is_the_one_of_pytorch():
    torch.manual_seed(0)
    layer = torch.nn.LSTM(N, H, bidirectional=True)
    x = torch.rand(S, B, N)
    with torch.no_grad():
        steps, (h, c) = layer(x)

    def ifoz(name):  # PyTorch's order is i f z o
        i, f, z, o = getattr(layer, name).detach().numpy().reshape(4, H, -1)
        return np.concatenate([i, f, o, z]).squeeze()

    given = {}
    for suffix, ours in (("", ""), ("_reverse", "_back")):
        given[f"weight_ih{ours}"] = ifoz(f"weight_ih_l0{suffix}")
        given[f"weight_hh{ours}"] = ifoz(f"weight_hh_l0{suffix}")
        given[f"bias{ours}"] = ifoz(f"bias_ih_l0{suffix}") + ifoz(f"bias_hh_l0{suffix}")
    zero = np.zeros((B, 2 * H), np.float32)
    found = run_op(
        "lstm",
        {"x": x.numpy(), "initial_h": zero, "initial_c": zero},
        direction="bidirectional",
        output_sequence=True,
        **given,
    )
    last = [torch.cat(list(part), -1).numpy() for part in (h, c)]
    checked(found, list(steps.numpy()), last, True)


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
