"""What a Program says about its graph."""

import pytest

from edgesmith.graph.program import Origin
from tests.graph.test_capture import captured, example


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
