"""An evaluator for workers on nodes that are there to be killed."""

import os
import time
from pathlib import Path
from uuid import uuid4

import ray
from evaluators_for_tests import Square

from crediting.interfaces import Outcome, Task


class Lingers(Square):
    """Notes where it begins each task, and goes on with one of them only when it may."""

    def __init__(self, folder: Path, over: str) -> None:
        super().__init__(folder)
        self.over = over

    def outcome(self, task: Task) -> Outcome:
        node = ray.get_runtime_context().get_node_id()
        (self.folder / f"begun-{task.coalition}-{node}-{os.getpid()}-{uuid4().hex}").touch()
        while task.coalition == self.over and not (self.folder / "go-on").exists():
            time.sleep(0.05)
        return super().outcome(task)
