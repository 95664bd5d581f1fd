"""Many jobs on many devices by way of Ray: a device is a resource of the node that it hangs on.

A node is started with `ray start --address=HEAD --resources='{"device:NAME": 1}'`, a device that several nodes reach is
named at each of them. Here is what watches the cluster and asks the policy (dispatch.py) what runs next; at most one
job a device is under way, and the device's own lock keeps other fleets and single measurements apart.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from edgesmith.devices.dispatch import Dispatch, FleetJob, Limits
from edgesmith.devices.entry import DeviceEntry
from edgesmith.errors import (
    DamagedArtifact,
    DeviceBusy,
    EdgesmithError,
    HostKeyRefused,
    LoginRefused,
    MissingPackage,
    MissingResource,
    UsageError,
)
from edgesmith.plugins import missing_package

_LOOK_S = 1.0
_FOR_GOOD = (UsageError, MissingPackage, DamagedArtifact, HostKeyRefused, LoginRefused)
P = TypeVar("P")
R = TypeVar("R")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """How one try ended. "refused" will be refused again, "failed" may not."""

    kind: Literal["done", "failed", "refused", "busy"]
    result: R | None = None
    reason: str = ""


def resource(device: str) -> str:
    """What a device is called among the resources of a Ray node."""
    return f"device:{device}"


def run_fleet(
    jobs: Sequence[FleetJob],
    devices: Mapping[str, DeviceEntry],
    run: Callable[[DeviceEntry, P], R],
    payloads: Mapping[str, P],
    keep: Callable[[FleetJob, str, R], None],
    limits: Limits = Limits(),  # noqa: B008, it is frozen
    cluster: str | None = None,
    say: Say = lambda text: None,
) -> dict[str, str]:
    """Run every job on one of its devices, and say of each that has no result why.

    run: what a node does with a device and the payload of a job; it and its results must pickle. keep: gets each result
    here as it arrives, with the device it comes from. cluster: address of a running Ray cluster ("auto" finds one);
    without it all devices hang on this machine.
    Raises: UsageError, MissingPackage, MissingResource when the cluster does not answer, and whatever `keep` raises.
    """
    plan = Dispatch(jobs, devices, limits)
    if plan.finished:
        return {}
    with _cluster(cluster, devices) as ray:
        _Watch(ray, plan, dict(devices), run, _Shared(ray, payloads), keep, say).to_the_end()
    return plan.given_up


@dataclass
class _Shared(Generic[P]):
    """Payloads in the cluster's memory: one that several jobs have travels once to a node."""

    ray: Any
    payloads: Mapping[str, P]
    put: dict[int, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        payload = self.payloads[key]
        if id(payload) not in self.put:
            self.put[id(payload)] = self.ray.put(payload)
        return self.put[id(payload)]


@dataclass
class _Watch:
    """One fleet under way. running: what Ray promised -> (job, device)."""

    ray: Any
    plan: Dispatch
    devices: dict[str, DeviceEntry]
    run: Callable[..., Any]
    payloads: Any
    keep: Callable[..., None]
    say: Say
    running: dict[Any, tuple[FleetJob, str]] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)

    def to_the_end(self) -> None:
        """Start, wait and collect until every job has ended; what is left running after an error is cancelled."""
        remote, looked = self.ray.remote(_attempt), -_LOOK_S
        try:
            while not self.plan.finished:
                if time.monotonic() - looked >= _LOOK_S:
                    self._look()
                    looked = time.monotonic()
                for job, device in self.plan.starts(time.monotonic()):
                    place = remote.options(num_cpus=0, max_retries=0, resources={resource(device): 1})
                    promise = place.remote(self.run, self.devices[device], self.payloads[job.key])
                    self.running[promise] = (job, device)
                    self.say(f"{job.key} on {device} ...")
                self._collect()
        finally:
            for promise in self.running:
                self.ray.cancel(promise, force=True)

    def _collect(self) -> None:
        wakes = self.plan.wakes_at(time.monotonic())
        patience = _LOOK_S if wakes is None else min(_LOOK_S, max(wakes - time.monotonic(), 0.01))
        if not self.running:
            time.sleep(patience)
            return
        ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=patience)
        for promise in ready:
            job, device = self.running.pop(promise)
            try:
                self._ended(job, device, self.ray.get(promise))
            except self.ray.exceptions.RayError as error:
                self._failed(job, device, f"its node or process died ({_first_line(error)})")

    def _ended(self, job: FleetJob, device: str, outcome: Outcome[Any]) -> None:
        now = time.monotonic()
        if outcome.kind == "done":
            self.keep(job, device, outcome.result)
            self.plan.succeeded(device, now)
            self.say(f"{job.key} on {device}: done, {len(self.plan.done)} so far")
        elif outcome.kind == "busy":
            self.plan.busy(device, outcome.reason, now)
            self.say(f"{job.key} on {device} waits: {outcome.reason}")
        else:
            self._failed(job, device, outcome.reason, outcome.kind == "failed")

    def _failed(self, job: FleetJob, device: str, reason: str, again: bool = True) -> None:
        self.plan.failed(device, reason, time.monotonic(), again)
        over = job.key in self.plan.given_up
        self.say(f"{job.key} on {device}: {reason}; {'given up' if over else 'it is tried again'}")

    def _look(self) -> None:
        """Give up the devices that no living node reaches any more."""
        offered = {name for node in self.ray.nodes() if node["Alive"] for name in node["Resources"]}
        for device in self.devices:
            if resource(device) in offered:
                self.seen.add(device)
            elif device not in self.lost:
                self.lost.add(device)
                start = f"ray start --address=HEAD --resources='{{\"{resource(device)}\": 1}}'"
                never = f"no node of the cluster has {device}; start one with {start}"
                went = f"the node that {device} hung on is gone, and no other node reaches it"
                reason = went if device in self.seen else never
                self.plan.lost(device, reason, time.monotonic())
                self._drop(device, reason)

    def _drop(self, device: str, reason: str) -> None:
        for promise, (job, where) in tuple(self.running.items()):
            if where == device:
                self.ray.cancel(promise, force=True)
                del self.running[promise]
                self._failed(job, device, reason)


def _attempt(run: Callable[[DeviceEntry, P], R], entry: DeviceEntry, payload: P) -> Outcome[R]:
    """What happens on the node: whatever ends the job comes back as words, since an exception may not travel."""
    try:
        return Outcome("done", run(entry, payload))
    except DeviceBusy as error:
        return Outcome("busy", reason=error.found)
    except _FOR_GOOD as error:
        return Outcome("refused", reason=f"{error.asked}: {error.found}")
    except EdgesmithError as error:
        return Outcome("failed", reason=f"{error.asked}: {error.found}")
    except Exception as error:  # a bug: it will be there the next time too
        return Outcome("refused", reason=f"{type(error).__name__}: {error}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _cluster(address: str | None, devices: Mapping[str, DeviceEntry]) -> Iterator[Any]:
    """Ray, connected to a cluster or started on this machine with all devices; left as it was found."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise missing_package(error, "run a fleet") from error
    ours = not ray.is_initialized()
    if ours:
        here = {"address": "local", "num_cpus": 1, "resources": {resource(name): 1 for name in devices}}
        where: dict[str, Any] = {"address": address} if address else here
        try:
            ray.init(
                **where, include_dashboard=None if address else False, log_to_driver=False, configure_logging=False
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            todo = "start one with `ray start --head`, or leave the address out"
            raise MissingResource(f"reach the Ray cluster {address}", _first_line(error), todo) from error
    try:
        yield ray
    finally:
        if ours:
            with contextlib.suppress(KeyboardInterrupt):
                ray.shutdown()
