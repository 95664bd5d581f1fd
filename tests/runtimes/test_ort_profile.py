import json

import pytest

from edgesmith.errors import EngineFailed
from edgesmith.runtimes.ort_profile import read_profile


def event(name, op, inputs, outputs, ts, provider="CPUExecutionProvider"):
    facts = {"op_name": op, "provider": provider, "input_type_shape": inputs, "output_type_shape": outputs}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "args": facts}


def test_fallback_to_another_provider_and_type_is_in_the_profile(tmp_path):
    events = [
        event("m", "MemcpyToHost", [{"float": [1, 4, 8, 8]}], [{"float": [1, 4, 8, 8]}], 2),
        event("conv_nchwc", "Conv", [{"float": [1, 4, 8, 8]}, {"float": [4, 4, 3, 3]}], [{"float": [1, 4, 8, 8]}], 3),
        event(
            "q_token_1", "QLinearConv", [{"uint8": [1, 8, 8, 3]}, {"int8": [4, 3, 1, 1]}], [{"uint8": [1, 8, 8, 4]}], 1
        ),
        event("fused g", "FusedGemm", [{"float": [1, 16]}, {"float": [5, 16]}], [{"float": [1, 5]}], 4),
        {"cat": "Session", "name": "model_run", "ts": 0},
    ]
    (tmp_path / "p.json").write_text(json.dumps(events))
    quantized, copy, conv, gemm = read_profile(tmp_path / "p.json")
    assert (quantized.names, quantized.precision, quantized.macs) == (("q",), "int8", 4 * 64 * 3)
    assert (copy.moves, copy.moved_bytes, copy.macs) == (True, 4 * 64 * 4, 0)
    assert (conv.names, conv.precision, conv.macs) == (("conv",), "fp32", 4 * 64 * 36)
    assert (gemm.names, gemm.macs) == (("g",), 80)


@pytest.mark.parametrize("text", ["", "{}", '[{"cat": "Node", "name": "x_kernel_time"}]'])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(EngineFailed, match="profile"):
        read_profile(tmp_path / "p.json")
