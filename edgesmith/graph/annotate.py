"""Our Quantizer for torchao's pt2e flow: it places what a QuantPlan says, with the plan's numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, fx

from edgesmith.graph.operators import feeds_output
from edgesmith.graph.quiet import import_noise_hushed
from edgesmith.quant import BiasOf, EdgeQuant, QuantPlan, QuantSpec
from edgesmith.targets import rules_of

with import_noise_hushed():
    from torchao.quantization.pt2e.observer import ObserverBase
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationSpec, Quantizer

_KEY = "quantization_annotation"  # where torchao looks


class PlannedPerChannelObserver(ObserverBase):
    """An "observer" that has seen everything before: its scale and zero point come from a plan.

    torchao gives `ch_axis` only to classes with "PerChannel" in their name.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        scale: np.ndarray,
        zero_point: np.ndarray,
        quant_min: int,
        quant_max: int,
        qscheme: torch.qscheme,
        ch_axis: int | None = None,
        is_dynamic: bool = False,
    ) -> None:
        super().__init__(dtype=dtype, is_dynamic=is_dynamic)
        self.scale, self.zero_point = torch.from_numpy(scale), torch.from_numpy(zero_point)
        self.quant_min, self.quant_max, self.qscheme, self.ch_axis = quant_min, quant_max, qscheme, ch_axis

    def forward(self, x: Tensor) -> Tensor:
        return x

    def calculate_qparams(self, **_: object) -> tuple[Tensor, Tensor]:
        return self.scale, self.zero_point


class PlanQuantizer(Quantizer):
    """Annotates a graph with a plan. nodes: edge name -> the node that computes it (a weight's get_attr)."""

    def __init__(self, plan: QuantPlan, nodes: Mapping[str, fx.Node]) -> None:
        self.plan, self.nodes = plan, nodes

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        ours = {node.name: node for node in model.graph.nodes}
        outputs = not rules_of(self.plan.family).float_output
        for edge, how in self.plan.edges.items():
            quant = self.plan.resolve(edge)
            if quant is not None and not isinstance(how, BiasOf):
                _annotate(ours[self.nodes[edge].name], specification(quant), outputs)
        return model

    def validate(self, model: fx.GraphModule) -> None:
        """Nothing to check: the plan was checked against its family's rules, apply_plan checks the result."""


def specification(quant: EdgeQuant) -> QuantizationSpec:
    """torchao's form of an edge's numbers."""
    spec = quant.spec
    observer = PlannedPerChannelObserver.with_args(
        scale=np.array(quant.scale, np.float32), zero_point=np.array(quant.zero_point, np.int64)
    )
    return QuantizationSpec(
        dtype=torch.int8 if spec.signed else torch.uint8,
        observer_or_fake_quant_ctr=observer,
        quant_min=spec.qmin,
        quant_max=spec.qmax,
        qscheme=_scheme(spec),
        ch_axis=spec.axis,
    )


def _scheme(spec: QuantSpec) -> torch.qscheme:
    if spec.axis is not None:
        return torch.per_channel_symmetric if spec.symmetric else torch.per_channel_affine
    return torch.per_tensor_symmetric if spec.symmetric else torch.per_tensor_affine


def _annotate(node: fx.Node, spec: QuantizationSpec, outputs: bool) -> None:
    """Quantize a value for all its readers; an output of the model keeps the float value unless `outputs`."""
    if node.op != "get_attr" and (outputs or not feeds_output(node)):
        _annotation(node).output_qspec = spec
        return
    for user in node.users:
        if user.op != "output":
            _annotation(user).input_qspec_map[node] = spec


def _annotation(node: fx.Node) -> QuantizationAnnotation:
    return node.meta.setdefault(_KEY, QuantizationAnnotation(_annotated=True))
