"""A connection to a Ray cluster: to one that is there, or to one of this machine for a while."""

import logging
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crediting.errors import ConfigError
from crediting.executors.environment import environment

_OF_AN_OWN_CLUSTER = {
    "RAY_AUTH_MODE": "disabled",  # else a token is written to the user's home
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning of what will change one day
}
_OBJECT_STORE = 150 * 2**20  # all that passes is the study, on the way out, and numbers back
_SECONDS_TO_ANSWER = 10.0


def check_installed() -> None:
    """Raise ConfigError if ray is not installed; it is not imported, as it reads settings then."""
    try:
        found = find_spec("ray") is not None
    except ValueError:  # a module without a specification stands in its place
        found = False
    if not found:
        raise _not_installed("no module named ray")


@contextmanager
def existing_cluster(address: str) -> Iterator[Any]:
    """Yield ray, connected to the cluster at `auto`, `host:port` or `ray://host:port`.

    Raises:
        ConfigError: ray is not installed, or no cluster can be joined there.
    """
    ray = _import_ray()
    if ray.is_initialized():  # one process has one cluster; whoever joined it will leave it
        if address != "auto":
            raise ConfigError(
                "executor.address: this process belongs to a Ray cluster already, which is "
                f"executor.address=auto, got {address!r}"
            )
        yield ray
        return
    try:
        _join(ray, address)
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def own_cluster(cpus: int, gpus: int) -> Iterator[Any]:
    """Yield ray, connected to a cluster of this machine that lasts as long as the context.

    Raises:
        ConfigError: ray is not installed, or this process belongs to another cluster.
    """
    with environment(_OF_AN_OWN_CLUSTER):  # ray reads it on import, and its processes inherit it
        ray = _import_ray()
        if ray.is_initialized():
            raise ConfigError(
                "executor.address: this process belongs to a Ray cluster already, so none can be "
                "started; choose executor.address=auto"
            )
        short = "/tmp" if Path("/tmp").is_dir() else None  # sockets may have some 100 characters
        folder = tempfile.mkdtemp(prefix="crediting-ray-", dir=short)
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                object_store_memory=_OBJECT_STORE,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=folder,
            )
        except BaseException:
            _end(ray, folder)
            raise
    try:
        yield ray
    finally:
        _end(ray, folder)


def resources(ray: Any) -> list[Mapping[str, float]]:
    """Return what each living node of the cluster has in all: CPU, GPU and others."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise _not_installed(str(error)) from error
    return ray


def _not_installed(reason: str) -> ConfigError:
    return ConfigError(
        f"executor=ray needs ray: pip install ray, on every machine of the cluster ({reason})"
    )


def _join(ray: Any, address: str) -> None:
    """Connect; asked whether anybody listens first, as ray itself tries for minutes."""
    try:
        if address != "auto":
            _, _, place = address.rpartition("://")
            host, _, port = place.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError, OverflowError) as error:
        raise ConfigError(
            f"executor.address: no Ray cluster can be joined at {address!r}: {error}. Start one "
            "with `ray start --head`, name one as host:port or ray://host:port, or set "
            "executor.address=null for one of this machine alone"
        ) from error


def _end(ray: Any, folder: str) -> None:
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
