"""What bars say of the time that is left."""

import pytest

from crediting.progress import advance, bar


@pytest.mark.parametrize("resumed_at", [0, 900])
def test_steps_that_another_run_has_done_do_not_count_as_fast(resumed_at):
    now = [0.0]
    with bar("train", 1000) as progress:
        progress._time = lambda: now[0]
        progress.start_t = progress.last_print_t = 0
        for done in range(resumed_at, 1000):
            advance(progress, done)
            now[0] += 2
        assert progress.n == 999
        assert progress.format_dict["rate"] == pytest.approx(0.5, rel=0.05)
        assert "999/1000" in str(progress)
