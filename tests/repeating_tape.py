"""What records and replays as a GPU does, on a CPU."""

import torch


class RepeatingTape:
    """Records as a GPU does: the work is repeated on the memory that it was recorded with.

    As there, recording does nothing by itself, and results have one place.
    """

    recordings = 0

    def run(self, work):
        return work()

    def record(self, work):
        type(self).recordings += 1
        place = []

        def play():
            result = work()
            if isinstance(result, torch.Tensor):
                place[:] = place or [result]
                place[0].copy_(result)
                return place[0]
            return result

        return play
