"""Where coalitions are evaluated: one class per file, each an `interfaces.Executor`."""

from crediting.executors.processes import Processes
from crediting.executors.ray_cluster import RayCluster
from crediting.executors.serial import Serial
from crediting.executors.slurm import Slurm

__all__ = ["Processes", "RayCluster", "Serial", "Slurm"]
