"""The contract every runtime keeps: open an exported model, feed arrays by name, get arrays by name.

The rules, which tests/contracts/test_runtime.py asks of every row of RUNTIMES:
- a wrong feed raises UsageError before the vendor's library sees it;
- what `run` returns belongs to the caller: the next `run` does not change it;
- leaving the with-block frees the vendor's objects, and a closed session says so;
- an absent vendor library is MissingPackage, an absent accelerator or operating system MissingResource.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from edgesmith.artifact import Exported
from edgesmith.errors import EngineFailed, MissingResource, UsageError
from edgesmith.tensors import Arrays, TensorSpec, check_feed


@dataclass(frozen=True)
class RunOptions:
    """How to run: the number of threads of one inference, and on a GPU whether work is captured in a CUDA graph."""

    threads: int = 1
    graph: bool = False


class Session(Protocol):
    """An opened model.

    engine: the vendor's words for what executes it. precision: what is really executed, as far as the runtime
    says. can_tap: `run` also returns the tensors named in `taps`. can_inject: `run` puts the arrays of `inject`
    in the place of tensors of these names. An interpreter has `timed = False` beside these (is_timed).
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    engine: str
    precision: str
    can_tap: bool
    can_inject: bool

    def run(self, feed: Arrays, taps: Sequence[str] = (), inject: Arrays | None = None) -> Arrays:
        """The outputs by name, and the tapped tensors by theirs. Raises: UsageError, EngineFailed."""
        ...

    def __enter__(self) -> Session: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Runtime(Protocol):
    """One vendor's library. The rows of RUNTIMES are classes of static methods: no instance is needed."""

    name: str

    @staticmethod
    def version() -> str:
        """The library's version."""
        ...

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> Session:
        """Load a model. Raises: EngineFailed when the library refuses it, MissingPackage, MissingResource."""
        ...

    @staticmethod
    def describe(file: Path) -> Exported:
        """Inputs, outputs and precision of a file made by anyone."""
        ...

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """The files beside `file` that belong to the model (weights kept outside)."""
        ...


def check_run(session: Session, feed: Arrays, taps: Sequence[str], inject: Arrays | None) -> None:
    """Refuse what the session cannot do before the vendor's library sees it. Raises: UsageError."""
    check_feed(session.inputs, feed)
    sizes: dict[str, int] = {}
    for spec in session.inputs:
        for axis, found in zip(spec.shape, feed[spec.name].shape):
            if isinstance(axis, str) and sizes.setdefault(axis, found) != found:
                raise UsageError(
                    f"input {spec.name!r} with {axis!r} = {sizes[axis]} as in the other inputs",
                    f"{found}",
                    "give every input the same size on this axis",
                )
    if taps and not session.can_tap:
        raise UsageError(f"tap {list(taps)}", f"{session.engine} cannot tap here", "compare outputs only")
    if inject and not session.can_inject:
        raise UsageError(f"inject {sorted(inject)}", f"{session.engine} cannot inject", "compare propagated error only")


# Tensors that are tapped, and those that are injected with their type: what a changed copy of a model depends on.
Change = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


def change_of(taps: Sequence[str], inject: Arrays) -> Change:
    """What `run` was asked for, as a key."""
    return tuple(taps), tuple((name, str(array.dtype)) for name, array in inject.items())


def with_injected(computed: Arrays, outputs: Sequence[TensorSpec], taps: Sequence[str], inject: Arrays) -> Arrays:
    """The answer of `run`: an output or a tap that was injected is what was injected."""
    names = dict.fromkeys([*(spec.name for spec in outputs), *taps])
    return {name: inject[name].copy() if name in inject else computed[name] for name in names}


def is_timed(session: Session) -> bool:
    """Whether its times say something about the engine: a class with `timed = False` is an interpreter."""
    return getattr(session, "timed", True)


def owned(outputs: dict[str, np.ndarray]) -> Arrays:
    """Copies that live apart from the vendor's buffers; an array that owns its memory is passed on as it is."""
    return {name: array if array.flags.owndata else np.array(array) for name, array in outputs.items()}


def closed(engine: str) -> UsageError:
    """The error of a session that is used after its with-block."""
    return UsageError(f"run {engine}", "the session is closed", "run it inside its with-block")


def refused(asked: str, error: Exception) -> EngineFailed:
    """The vendor's own complaint as an error of ours."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return EngineFailed(asked, " ".join(line.strip() for line in lines[:4]), "see what the runtime supports")


def foreign(runtime: str, precision: str, file: Path, specs: tuple[tuple[TensorSpec, ...], ...]) -> Exported:
    """The description of a file made by anyone."""
    inputs, outputs = specs
    return Exported(
        target=f"{runtime}-{precision}",
        runtime=runtime,
        precision=precision,
        main=file.name,
        inputs=inputs,
        outputs=outputs,
        notes=(f"described from {file.name}",),
        root=file.parent,
    )


def must_exist(file: Path) -> None:
    """Raises: MissingResource when the model's file is not there."""
    if not file.exists():
        raise MissingResource(f"open {file}", "no such file", "check the path")
