import numpy as np
import pytest
import torch

from tests.runtimes.mil.programs import run_op
from tests.runtimes.mil.recurrent_cases import ACT, CASES, B, H, N, S, checked, drawn
from tests.runtimes.mil.versions import versions


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
