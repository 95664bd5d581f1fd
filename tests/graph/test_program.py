"""What a Program says about its graph."""

import pytest
import torch

from edgesmith.errors import UsageError
from edgesmith.graph.capture import capture
from edgesmith.graph.program import Origin, check_program
from edgesmith.graph.rewrite import simplify
from edgesmith.quant import QuantPlan
from tests.graph.test_capture import captured, example
from tests.models import tiny


def test_edges_are_named_by_input_and_path_in_graph_order() -> None:
    edges = [edge for edge, _ in captured("two").edges()]
    assert edges[:2] == ["input:image", "input:context"] and edges[-1] == "mix:out"


def test_a_node_that_no_rewrite_touched_stands_for_its_own_layer() -> None:
    program = captured("linear")
    assert program.origin(program.nodes["fc1"]) == Origin("fc1")
    with pytest.raises(KeyError):
        program.origin(program.module.graph.output_node())


def test_dead_nodes_leave_the_paths() -> None:
    program = captured("linear")
    module, paths, origins = program.copy()
    last = next(node for node in module.graph.nodes if paths.get(node.name) == "fc2")
    last.replace_all_uses_with(last.args[0])
    cut = program.rewritten(module, paths, origins)
    assert list(cut.nodes) == ["flatten", "fc1", "relu"] and list(program.nodes)[-1] == "fc2"
    assert cut.module(*example())[0].shape == (1, 16)


def test_a_digest_is_that_of_the_model_with_its_weights() -> None:
    program, again = captured("residual"), captured("residual")
    assert program.digest == again.digest == simplify(program).digest and len(program.digest) == 16
    assert program.digest == captured("residual", dynamic_batch=True).digest  # a plan serves both
    net = tiny("residual")
    with torch.no_grad():
        net.conv.weight[0, 0, 0, 0] += 1e-6
    assert capture(net, example()).digest != program.digest
    assert captured("conv-bn-relu").digest != program.digest


def test_a_plan_of_another_model_is_refused() -> None:
    program = captured("linear")
    check_program(program, QuantPlan("ort", {}, {}, "x86-vnni", program=program.digest))
    check_program(program, QuantPlan("ort", {}, {}, "x86-vnni"))  # made by hand, or before plans said it
    with pytest.raises(UsageError, match="derive the plan from this model"):
        check_program(program, QuantPlan("ort", {}, {}, "x86-vnni", program="0123456789abcdef"))
