"""A file that cannot grow (as on a full disk) ends in one message; what was recorded stays."""

import pytest

pytestmark = pytest.mark.slow


def test_a_disk_that_fills_up_loses_nothing(tmp_path, miniature, credit):
    arguments = [*miniature, "property=[diversity]"]
    for stage, bytes_per_file in (("encode", 100_000), ("train", 100_000), ("evaluate", 20_000)):
        full = credit(arguments, f"stage={stage}", cwd=tmp_path, bytes_per_file=bytes_per_file)
        assert full.returncode == 2, full.stderr
        assert "Traceback" not in full.stderr
        assert full.stderr.count("credit: ") == 1
        assert "run the same command again" in full.stderr
        if stage != "evaluate":
            for needed in ("encode",) if stage == "encode" else ("train", "prune", "extract"):
                done = credit(arguments, f"stage={needed}", cwd=tmp_path)
                assert done.returncode == 0, done.stderr
    finished = credit(arguments, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("reused") == 5
