"""States: what a model keeps from call to call."""

from __future__ import annotations

from edgesmith.runtimes.mil.registry import Box, Tensor, op


@op("read_state", since="ios18")
def read_state(input: Box) -> Tensor:
    """What the state holds now. Nobody writes into a tensor, so no copy is made."""
    return input.value


@op("write_state", since="ios18")
def write_state(input: Box, data: Tensor) -> tuple[()]:
    """Put a tensor into the state; the form in which a file has coreml_update_state."""
    input.put(data)
    return ()


@op("coreml_update_state", since="ios18")
def coreml_update_state(state: Box, value: Tensor) -> Tensor:
    """Put a tensor into the state, and give it on."""
    state.put(value)
    return value
