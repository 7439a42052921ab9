import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import writers_for_tests as writers

from crediting.ledger import Ledger


def start_writer(folder: Path, value: float, count: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, writers.__file__, "ledger", str(folder), str(value), str(count)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_writers_at_once_lose_nothing_and_the_first_wins(tmp_path):
    n_writers, n_coalitions = 4, 60
    processes = [start_writer(tmp_path, writer, n_coalitions) for writer in range(n_writers)]
    ends = [process.communicate(timeout=60) for process in processes]
    assert [stderr for _, stderr in ends] == [""] * n_writers
    with Ledger(tmp_path / "ledger.sqlite", writers.GAME) as ledger:
        keys = [str(number) for number in range(n_coalitions)]
        recorded = ledger.values(keys, 1, writers.SCORE["score"])[:, 0]
        kept = ledger.disagreements()
    assert set(recorded) <= set(range(n_writers))
    assert Counter(row.coalition for row in kept) == dict.fromkeys(keys, n_writers - 1)
    for key, first in zip(keys, recorded, strict=True):
        repeats = {row.repeat for row in kept if row.coalition == key}
        assert repeats == set(range(n_writers)) - {first}
        assert {row.first for row in kept if row.coalition == key} == {first}


def test_every_acknowledged_record_survives_a_kill(tmp_path):
    process = start_writer(tmp_path, 0.5, 100_000)
    acknowledged = [process.stdout.readline().strip() for _ in range(100)]
    process.send_signal(signal.SIGKILL)
    acknowledged += process.communicate()[0].split()
    assert acknowledged == [str(number) for number in range(len(acknowledged))]
    with Ledger.open(tmp_path, writers.GAME, {"budget": 1}) as ledger:
        values = ledger.values(acknowledged, 1, writers.SCORE["score"])
        np.testing.assert_array_equal(values, 0.5)
        assert writers.count_of(ledger) - len(acknowledged) in (0, 1)
        ledger.record(writers.outcome("next", 0.25), writers.SCORE)


def test_a_reader_sees_whole_records_while_another_process_writes(tmp_path):
    process = start_writer(tmp_path, 0.5, 200)
    assert process.stdout.readline() == "0\n"
    counts = []
    with Ledger.peek(tmp_path, writers.GAME) as ledger:
        while process.poll() is None:
            counts.append(writers.count_of(ledger))
        process.communicate()
        counts.append(writers.count_of(ledger))
    assert counts == sorted(counts)
    assert counts[-1] == 200
