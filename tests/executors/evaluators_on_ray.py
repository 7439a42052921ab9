"""An evaluator for workers on nodes that are there to be killed."""

import time
from uuid import uuid4

from evaluators_for_tests import Square

from crediting.interfaces import Outcome, Task


class Lingers(Square):
    """Notes each task that it begins, and takes its time."""

    def outcome(self, task: Task) -> Outcome:
        (self.folder / f"begun-{task.coalition}-{uuid4().hex}").touch()
        time.sleep(0.3)
        return super().outcome(task)
