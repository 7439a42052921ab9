"""What runs inside a worker of `RayCluster`, which may be on another machine than the driver."""

import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from crediting.errors import ArtifactError, DataError
from crediting.executors.worker import Raised, answer, build
from crediting.interfaces import Evaluator, Job, Outcome


class Driver(NamedTuple):
    """Where a driver works, as its workers must know to find what it finds."""

    host: str
    folder: str
    import_path: tuple[str, ...]

    @staticmethod
    def this_process() -> "Driver":
        """Return that of the process at hand."""
        return Driver(socket.gethostname(), str(Path.cwd()), tuple(sys.path))


class RayActor:
    """Holds one evaluator, which is built once; what it raises is returned, as in `Processes`.

    Modules and relative paths are those of the driver, where its folders are reachable.
    """

    def __init__(self, make_evaluator: bytes, driver: "Driver") -> None:
        with suppress(OSError):  # then only what has an absolute path can be found
            os.chdir(driver.folder)
        sys.path.extend(entry for entry in driver.import_path if entry not in sys.path)
        self._evaluator = _placed(build(make_evaluator), driver.host, socket.gethostname())

    def begin(self) -> Sequence[Outcome] | Raised:
        """Return nothing once the evaluator is there, or what came of building it."""
        return self._evaluator if isinstance(self._evaluator, Raised) else ()

    def evaluate(self, job: Job) -> Sequence[Outcome] | Raised:
        """Return what the evaluator makes of a job, or what it raised."""
        return answer(self._evaluator, job)


def _placed(built: Evaluator | Raised, driver: str, here: str) -> Evaluator | Raised:
    """Return what was built; a file that is missing on another machine most likely is not shared.

    `driver` and `here` are names of hosts.
    """
    if not isinstance(built, Raised) or driver == here:
        return built
    if isinstance(built.mendable, ArtifactError | DataError):
        error = ArtifactError(
            f"{built.mendable}\nThat was on {here}: paths.outputs, and data, must lie where all "
            f"machines of the cluster see them under the same path as {driver} does"
        )
        return built._replace(mendable=error)
    return built
