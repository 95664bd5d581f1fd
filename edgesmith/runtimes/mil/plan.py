"""Plan a program once: names become slots, constants values, operations steps. Then run it many times."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgesmith.errors import DamagedArtifact, EdgesmithError, EngineFailed
from edgesmith.runtimes.mil import limits, ops, registry
from edgesmith.runtimes.mil.bind import Slots, Source, Step, bind, store
from edgesmith.runtimes.mil.constants import Constant, Weights, read_constant
from edgesmith.runtimes.mil.numerics import Numerics
from edgesmith.runtimes.mil.registry import Call
from edgesmith.runtimes.mil.types import CARRIER, OPSET_OF, TensorType, read_type

Named = tuple[Source, TensorType]
Scope = ChainMap[str, Named]
ops.load()


@dataclass(frozen=True)
class Planned:
    """One step. writes: the slots it fills; last_uses: those that nobody reads after it."""

    step: Step
    op: str
    name: str
    writes: tuple[int, ...]
    last_uses: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A function of a program, ready to run. names: every tensor -> where it is, for taps."""

    opset: str
    inputs: Mapping[str, tuple[int, TensorType]]
    outputs: Mapping[str, Named]
    steps: tuple[Planned, ...]
    slots: int
    names: Mapping[str, Named]
    numerics: Numerics

    def run(
        self, values: Mapping[str, Any], keep: Sequence[str] = (), inject: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The outputs, and the tensors named in `keep`; those of `inject` stand in the place of what is computed.

        Raises: EngineFailed naming the operation that failed.
        """
        slots: Slots = [None] * self.slots
        for name, (slot, _) in self.inputs.items():
            slots[slot] = values[name]
        wanted = {**self.outputs, **{name: self.names[name] for name in keep}}
        steps = _injected(self.steps, {self.names[name][0]: value for name, value in (inject or {}).items()}, slots)
        _execute(steps, slots, frozenset(s for s, _ in wanted.values() if isinstance(s, int)))
        return {name: slots[s] if isinstance(s, int) else _as_tensor(s) for name, (s, _) in wanted.items()}


def _as_tensor(constant: Constant) -> Any:
    return constant.tensor if constant.type.dtype in CARRIER and not constant.type.container else constant.value


def _injected(steps: Sequence[Planned], given: Mapping[Source, Any], slots: Slots) -> Sequence[Planned]:
    """The steps, each followed by putting what is given into the slots it fills; a given input is put at once."""
    if not given:
        return steps
    for source, value in given.items():
        if isinstance(source, int):
            slots[source] = value

    def follow(planned: Planned, mine: Mapping[int, Any]) -> Step:
        def step(slots: Slots) -> None:
            planned.step(slots)
            for slot, value in mine.items():
                slots[slot] = value

        return step

    chosen = [(one, {slot: given[slot] for slot in one.writes if slot in given}) for one in steps]
    return [replace(one, step=follow(one, mine)) if mine else one for one, mine in chosen]


def _execute(steps: Sequence[Planned], slots: Slots, keep: frozenset[int]) -> None:
    planned: Planned | None = None
    try:
        for planned in steps:
            planned.step(slots)
            for slot in planned.last_uses:
                if slot not in keep:
                    slots[slot] = None
    except EdgesmithError as error:
        if planned is None or error.asked.startswith("run the operation "):
            raise
        raise EngineFailed(_asked(planned), f"{error.asked}: {error.found}", error.todo) from error
    except (RuntimeError, ValueError, IndexError, TypeError, ArithmeticError, KeyError, AttributeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        todo = "see whether the program is sound; if Core ML runs it, this is a mistake of the interpreter"
        raise EngineFailed(_asked(planned), lines[0], todo) from error


def _asked(planned: Planned | None) -> str:
    return f"run the operation {planned.op} {planned.name!r}" if planned else "run the program"


def plan(function: Any, weights: Weights, numerics: Numerics, what: str = "main") -> Plan:
    """Plan a Function message. Raises: EngineFailed naming an operation that is not known, DamagedArtifact."""
    if function.opset not in OPSET_OF:
        known = ", ".join(f"{key} ({value})" for key, value in OPSET_OF.items())
        raise EngineFailed(
            f"run {what} of opset {function.opset!r}", f"known are {known}", "convert it for one of them"
        )
    if function.opset not in function.block_specializations:
        raise _damaged(f"find the block of {what}", f"none for {function.opset}")
    planner = _Planner(weights, numerics, OPSET_OF[function.opset])
    scope: Scope = ChainMap()
    inputs = {value.name: planner.define(value, scope) for value in function.inputs}
    steps, outputs = planner.block(function.block_specializations[function.opset], scope, first=0)
    freed = _free(steps, _slots(outputs.values()), 0)
    return Plan(planner.opset, inputs, outputs, freed, planner.count, dict(scope), numerics)


@dataclass(frozen=True)
class _Made:
    """A step before it is known who reads what last. reads, writes: slots, those of its blocks among them."""

    step: Step
    op: str
    name: str
    reads: frozenset[int]
    writes: tuple[int, ...]


def _slots(named: Iterable[Named]) -> set[int]:
    return {source for source, _ in named if isinstance(source, int)}


def _free(made: Sequence[_Made], keep: set[int], first: int) -> tuple[Planned, ...]:
    """Say after which step each slot of a block (from `first` on) can be emptied."""
    later, planned = set(keep), []
    for one in reversed(made):
        ended = {slot for slot in one.reads | set(one.writes) if slot >= first} - later
        later |= ended
        planned.append(Planned(one.step, one.op, one.name, one.writes, tuple(sorted(ended))))
    return tuple(reversed(planned))


class _Planner:
    """Numbers the slots of one function."""

    def __init__(self, weights: Weights, numerics: Numerics, opset: str) -> None:
        self._weights, self._numerics, self.opset = weights, numerics, opset
        self.count = 0

    def define(self, value: Any, scope: Scope) -> tuple[int, TensorType]:
        """Give a NamedValueType a slot, and its name a meaning in the scope."""
        kind = read_type(value.type, repr(value.name))
        if kind.shape is not None and not kind.container:
            limits.check_size([1 if size is None else size for size in kind.shape])
        slot, self.count = self.count, self.count + 1
        _name(value.name, (slot, kind), scope)
        return slot, kind

    def block(self, block: Any, scope: Scope, first: int) -> tuple[list[_Made], dict[str, Named]]:
        """The steps of a block and its outputs. first: the first slot that is its own."""
        if len(scope.maps) > limits.DEEPEST:
            raise _damaged("plan the program", f"blocks stand in blocks more than {limits.DEEPEST} deep")
        made = [step for operation in block.operations for step in self._operation(operation, scope)]
        return made, {name: _look_up(name, scope) for name in block.outputs}

    def _operation(self, operation: Any, scope: Scope) -> Iterator[_Made]:
        name = operation.outputs[0].name if operation.outputs else operation.type
        if operation.type == "const":
            self._constant(operation, name, scope)
            return
        entry = registry.find(operation.type, self.opset)
        given = self._given(operation, scope)
        sources = {key: [source for source, _ in found] for key, found in given.items() if found}
        kinds = {key: found[0][1] for key, found in given.items() if found}
        declared = tuple(read_type(value.type, repr(value.name)) for value in operation.outputs)
        call = Call(entry.name, name, self.opset, kinds, declared, frozenset(given), self._numerics)
        inner = [self._inner(block, scope) for block in operation.blocks]
        compute = bind(entry, call, sources, [block.run for block in inner])
        if entry.name.startswith("constexpr_"):
            self._fold(operation, call, compute, scope)
            return
        slots = tuple(self.define(value, scope)[0] for value in operation.outputs)
        reads = {source for found in sources.values() for source in found if isinstance(source, int)}
        reads = reads.union(*(block.reads for block in inner))
        yield _Made(store(slots, declared, call, compute), entry.name, name, frozenset(reads), slots)

    def _given(self, operation: Any, scope: Scope) -> dict[str, list[Named]]:
        """Input -> what it is bound to. Compressed weights of iOS 16 and 17 have theirs as attributes."""
        found = {key: [self._binding(one, scope) for one in given.arguments] for key, given in operation.inputs.items()}
        if operation.type.startswith("constexpr_"):
            for key, value in operation.attributes.items():
                if key != "name":
                    constant = read_constant(value, self._weights, repr(key))
                    found[key] = [(constant, constant.type)]
        return found

    def _binding(self, binding: Any, scope: Scope) -> Named:
        if binding.WhichOneof("binding") == "value":
            constant = read_constant(binding.value, self._weights, "an input")
            return constant, constant.type
        return _look_up(binding.name, scope)

    def _constant(self, operation: Any, name: str, scope: Scope) -> None:
        if len(operation.outputs) != 1 or "val" not in operation.attributes:
            raise _damaged(f"read the constant {name!r}", "it has no value, or not one name")
        constant = read_constant(operation.attributes["val"], self._weights, repr(name))
        _name(name, (constant, constant.type), scope)

    def _fold(self, operation: Any, call: Call, compute: Callable[[Slots], Any], scope: Scope) -> None:
        """Decompress a weight now, once."""
        slots: Slots = [None] * len(operation.outputs)
        step = store(range(len(slots)), call.outputs, call, compute)
        _execute([Planned(step, call.op, call.name, (), ())], slots, frozenset())
        for value, kind, tensor in zip(operation.outputs, call.outputs, slots):
            _name(value.name, (Constant(kind, tensor.numpy()), kind), scope)

    def _inner(self, block: Any, scope: Scope) -> _Inner:
        first, own = self.count, scope.new_child()
        inputs = tuple(self.define(value, own)[0] for value in block.inputs)
        made, outputs = self.block(block, own, first)
        ends = _slots(outputs.values())
        reads = frozenset(slot for slot in ends.union(*(one.reads for one in made)) if slot < first)
        return _Inner(inputs, _free(made, ends, first), tuple(source for source, _ in outputs.values()), reads)


@dataclass(frozen=True)
class _Inner:
    """A block of control flow. reads: the slots outside that it reads."""

    inputs: tuple[int, ...]
    steps: tuple[Planned, ...]
    outputs: tuple[Source, ...]
    reads: frozenset[int]

    def run(self, slots: Slots, *values: Any) -> tuple[Any, ...]:
        """From the values of its inputs to those of its outputs."""
        if len(values) != len(self.inputs):
            raise ValueError(f"the block takes {len(self.inputs)} values, {len(values)} were given")
        for slot, value in zip(self.inputs, values):
            slots[slot] = value
        _execute(self.steps, slots, frozenset())
        return tuple(slots[s] if isinstance(s, int) else _as_tensor(s) for s in self.outputs)


def _name(name: str, named: Named, scope: Scope) -> None:
    if name in scope.maps[0]:
        raise _damaged(f"plan {name!r}", "the name is given twice")
    scope[name] = named


def _look_up(name: str, scope: Scope) -> Named:
    if name not in scope:
        raise _damaged(f"find the value {name!r}", "nothing before it has this name")
    return scope[name]


def _damaged(asked: str, found: str) -> DamagedArtifact:
    return DamagedArtifact(asked, found, "convert the model again")
