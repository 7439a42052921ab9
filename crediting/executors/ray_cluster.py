"""Coalitions on a Ray cluster: many machines, or shares of GPUs."""

import math
import pickle
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from crediting.errors import ConfigError
from crediting.executors.environment import GPU, ONE_THREAD
from crediting.executors.ray_actor import Driver, RayActor
from crediting.executors.ray_connection import (
    check_installed,
    existing_cluster,
    own_cluster,
    resources,
)
from crediting.executors.ray_crew import Crew
from crediting.executors.settings import require, require_count
from crediting.interfaces import Evaluator, Job, Outcome

_ROUNDING = 1e-6


class RayCluster:
    """Evaluates in `workers` actors, each with its share of CPUs and GPUs, never more than jobs.

    `address` is null for a cluster of this machine, started for each run, or that of a cluster
    which is there. `workers` "auto" is as many as it has room for; of more than that, some wait
    until there is room. `gpus_per_worker` "auto" is one where this machine works on GPUs, else 0.

    A task whose worker, or its node, is lost is tried again as in `Processes`. Only the driver
    receives outcomes. All machines need the package, and paths.outputs under the same path.

    Raises:
        ConfigError: a setting is of the wrong kind; the message names its key.
    """

    def __init__(
        self,
        address: str | None,
        workers: int | str,
        cpus_per_worker: float,
        gpus_per_worker: float | str,
        retries: int,
    ) -> None:
        require_count("workers", workers, 1, or_auto=True)
        require("cpus_per_worker", cpus_per_worker, "positive", _as_number(cpus_per_worker) > 0)
        share = "auto, 0, a share of a GPU such as 0.25, or a whole number"
        require("gpus_per_worker", gpus_per_worker, share, _is_share(gpus_per_worker))
        require_count("retries", retries, 0)
        self.address = address
        self.workers = workers
        self.cpus_per_worker = cpus_per_worker
        self.gpus_per_worker = gpus_per_worker
        self.retries = retries
        self._capacity = 0
        self._gpus_here = 0
        self._asked_of_cluster = 0

    def run(
        self, make_evaluator: Callable[[], Evaluator], jobs: Sequence[Job]
    ) -> Generator[Outcome, None, None]:
        """Yield one outcome per task, in any order; `make_evaluator` must be picklable.

        Raises:
            ConfigError: ray is not installed, the cluster cannot be joined, or none of its nodes
                could hold a worker.
            CreditingError: as raised in a worker.
            EvaluationError: workers keep dying before they can evaluate anything, or no node is
                left.
            RuntimeError: an evaluator raised; holds the traceback of the worker.
        """
        if not jobs:
            return
        evaluator = pickle.dumps(make_evaluator)
        with self._cluster() as ray:
            room = self._room(resources(ray))
            size = min(room if self.workers == "auto" else int(self.workers), len(jobs))
            actor = ray.remote(RayActor).options(
                num_cpus=self.cpus_per_worker,
                num_gpus=self._gpus(),
                max_restarts=0,
                max_task_retries=0,
                runtime_env={"env_vars": self._environment()},
            )
            driver = Driver.this_process()
            sent = ray.put(evaluator)  # once, however many actors there will be
            yield from Crew(
                ray,
                lambda: actor.remote(sent, driver),
                lambda: self._held_by(resources(ray)),
                size,
                self.retries,
            ).evaluate(jobs)

    def check(self) -> None:
        """Raise ConfigError if ray is not installed."""
        check_installed()

    def sized(self, capacity: int, devices: Sequence[str] = ()) -> "RayCluster":
        """Return the executor for a driver on such a machine, which may be the whole cluster."""
        gpus: float | str = self.gpus_per_worker
        if gpus == "auto":
            gpus = 1 if devices else 0
        sized = RayCluster(self.address, self.workers, self.cpus_per_worker, gpus, self.retries)
        sized._capacity, sized._gpus_here = capacity, len(devices)
        return sized

    def width(self) -> int:
        """Return how many coalitions are evaluated at once, given enough of them.

        A cluster that is there is asked, where only it can tell; none is started.

        Raises:
            ConfigError: it cannot be joined, or none of its nodes could hold a worker.
        """
        if self.workers != "auto":
            return int(self.workers)
        if self.address is None:
            return self._room([self._own_resources()])
        if not self._asked_of_cluster:
            with existing_cluster(self.address) as ray:
                self._asked_of_cluster = self._room(resources(ray))
        return self._asked_of_cluster

    def _cluster(self) -> AbstractContextManager[Any]:
        if self.address is not None:
            return existing_cluster(self.address)
        own = self._own_resources()
        self._room([own])
        return own_cluster(int(own["CPU"]), self._gpus_here)

    def _own_resources(self) -> Mapping[str, float]:
        """Return what a cluster of this machine has: its GPUs, and CPUs for all its workers."""
        if not self._capacity:
            raise RuntimeError("the executor was not sized")
        cpus = self._capacity * math.ceil(self.cpus_per_worker)
        if self.workers != "auto":
            cpus = math.ceil(int(self.workers) * self.cpus_per_worker)
        elif self._gpus():
            on_gpus = self._held_by([{"CPU": math.inf, "GPU": self._gpus_here}])
            cpus = math.ceil(on_gpus * self.cpus_per_worker)
        return {"CPU": cpus, "GPU": self._gpus_here}

    def _room(self, nodes: Iterable[Mapping[str, float]]) -> int:
        room = self._held_by(nodes)
        if not room:
            raise ConfigError(
                "executor.cpus_per_worker, executor.gpus_per_worker: no node of the cluster has "
                f"{self.cpus_per_worker:g} CPUs and {self._gpus():g} GPUs for a worker; lower "
                "them, or add nodes that have"
            )
        return room

    def _held_by(self, nodes: Iterable[Mapping[str, float]]) -> int:
        """Return how many workers fit, given what each node has; a share is of one GPU."""
        cpus, gpus, total = self.cpus_per_worker, self._gpus(), 0
        for node in nodes:
            fitting = node.get("CPU", 0) / cpus
            if gpus >= 1:
                fitting = min(fitting, node.get("GPU", 0) // gpus)
            elif gpus:
                fitting = min(fitting, int(node.get("GPU", 0)) * int(1 / gpus + _ROUNDING))
            total += int(fitting + _ROUNDING)
        return total

    def _gpus(self) -> float:
        if self.gpus_per_worker == "auto":
            raise RuntimeError("the executor was not sized")
        return float(self.gpus_per_worker)

    def _environment(self) -> dict[str, str]:
        """Return what is set in a worker before it imports anything that reads it."""
        threads = dict.fromkeys(ONE_THREAD, str(max(1, int(self.cpus_per_worker))))
        # without a share a worker sees no GPU, also where ray would leave all of them visible
        return threads if self._gpus() else threads | {GPU: ""}


def _as_number(value: object) -> float:
    """Return a finite number, or -1 for anything else."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and abs(value) < math.inf else -1.0  # type: ignore[arg-type]


def _is_share(value: object) -> bool:
    number = _as_number(value)
    return value == "auto" or 0 <= number <= 1 or (number > 1 and number.is_integer())
