"""A study evaluated on a Ray cluster of its own has the values of one evaluated in the driver."""

import pytest
from miniature_study import make_study, read_ledgers

from crediting.pipeline import stages

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    # ray leaves the processes that it started, and their pipes, to the garbage collector
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]
SAME = ("runtime.device=cpu", "property=[fid]")
ON_RAY = (*SAME, "executor=ray", "executor.workers=2", "executor.cpus_per_worker=1")


def test_two_ray_workers_record_what_the_driver_would(tmp_path, monkeypatch):
    for stage in ("encode", "train", "prune", "extract", "evaluate"):
        stages.run(make_study(tmp_path / "serial", *SAME), stage)
    monkeypatch.chdir(tmp_path)  # workers must find a relative folder too
    for stage in ("encode", "train", "prune", "extract", "evaluate"):
        stages.run(make_study("on_ray", *ON_RAY), stage)
    alone = read_ledgers(tmp_path / "serial")
    assert len(alone) > 6
    assert read_ledgers(tmp_path / "on_ray") == alone
