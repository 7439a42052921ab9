"""Where coalitions are evaluated: one class per file, each an `interfaces.Executor`."""

from crediting.executors.processes import Processes
from crediting.executors.serial import Serial

__all__ = ["Processes", "Serial"]
