"""A tiny net, calibrated and planned for one family."""

import torch

from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.graph.capture import Program, capture
from edgesmith.quant import QuantPlan
from tests.models import tiny

INSTRUCTION_SET = {"ort": "x86-vnni", "openvino": "x86-vnni", "coreml": "apple", "tensorrt": "cuda"}
INSTRUCTION_SET["executorch"] = "xnnpack"


def planned(net: str, family: str) -> tuple[Program, QuantPlan]:
    """Shape: inputs (1, 3, 8, 8), and (1, 4) for the net "two", whose batch is dynamic."""
    torch.manual_seed(1)
    images, context = torch.randn(16, 3, 8, 8), torch.randn(16, 4)
    batch = {"image": images, "context": context} if net == "two" else {"x": images}
    program = capture(tiny(net), {name: value[:1] for name, value in batch.items()}, dynamic_batch=net == "two")
    ranges = observe(program, [tuple(batch.values())])
    return program, derive(program, ranges, family, INSTRUCTION_SET[family])
