import json
import os
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from writers_for_tests import GAME, SCORE, count_of, outcome

from crediting.errors import CreditingError, LedgerError
from crediting.interfaces import Outcome, Task
from crediting.ledger import Ledger
from crediting.ledger.tables import explained

BOTH = SCORE | {"fid": "fid-fingerprint"}


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "game", GAME, {"budget": 1}) as ledger:
        yield ledger


def both(coalition: str, values: dict[str, float], failures: dict[str, str]) -> Outcome:
    return Outcome(Task(coalition, 0, ("score", "fid")), values, failures, 7, 2.0, "cpu")


def values_of(ledger: Ledger, *coalitions: str) -> list[float]:
    return ledger.values(coalitions, 1, SCORE["score"])[:, 0].tolist()


def rows(ledger: Ledger, sql: str) -> list[tuple]:
    connection = sqlite3.connect(ledger.path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


# ------------------------------------------------------------------------------ recording


def test_values_come_back_in_the_order_asked_with_nan_where_absent(ledger):
    ledger.record(outcome("a", 0.1), SCORE)
    ledger.record(outcome("a", 0.2, replicate=1), SCORE)
    ledger.record(outcome("b", 1 / 3), SCORE)
    values = ledger.values(["b", "none", "a", "b"], 2, SCORE["score"])
    assert values.dtype == np.float64
    np.testing.assert_array_equal(
        values, [[1 / 3, np.nan], [np.nan, np.nan], [0.1, 0.2], [1 / 3, np.nan]]
    )
    assert ledger.values([], 2, SCORE["score"]).shape == (0, 2)
    assert count_of(ledger) == 3


@pytest.mark.parametrize("value", [5e-324, 1.7976931348623157e308, -0.1, 1e16 + 2, np.float32(0.1)])
def test_values_come_back_to_the_last_bit(ledger, value):
    ledger.record(outcome("a", value), SCORE)
    assert values_of(ledger, "a") == [float(value)]


def test_what_is_recorded_is_there_in_the_next_session(ledger):
    ledger.record(outcome("a", 0.1), SCORE)
    ledger.close()
    with Ledger(ledger.path, GAME) as again:
        assert values_of(again, "a") == [0.1]
    with Ledger.open(ledger.path.parent, GAME, {"budget": 1}) as again:
        assert values_of(again, "a") == [0.1]


def test_a_row_tells_where_it_came_from(ledger):
    ledger.record(outcome("a", 0.1), SCORE)
    ((game, seed, seconds, device, versions, recorded_at),) = rows(
        ledger, "SELECT game, seed, seconds, device, versions, recorded_at FROM evaluations"
    )
    assert (game, seed, seconds, device) == (GAME, 7, 2.0, "cpu")
    assert "torch" in json.loads(versions)
    assert recorded_at.endswith("+00:00")


def test_the_first_record_wins_and_a_differing_repeat_is_kept(ledger):
    ledger.record(outcome("a", 0.1), SCORE)
    ledger.record(outcome("a", 0.1), SCORE)
    assert ledger.disagreements() == []
    ledger.record(outcome("a", 0.1 + 2e-17, device="cuda"), SCORE)
    (kept,) = ledger.disagreements()
    assert (kept.coalition, kept.property, kept.first, kept.repeat) == (
        "a",
        "score",
        0.1,
        0.1 + 2e-17,
    )
    assert (kept.first_device, kept.repeat_device) == ("cpu", "cuda")
    assert values_of(ledger, "a") == [0.1]
    assert count_of(ledger) == 1


def test_another_property_fingerprint_is_another_key(ledger):
    ledger.record(outcome("a", 0.1), SCORE)
    ledger.record(outcome("a", 0.2), {"score": "another"})
    assert ledger.disagreements() == []
    assert values_of(ledger, "a") == [0.1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -np.inf, np.float32("nan")])
def test_what_is_not_finite_is_a_failure_and_never_a_value(ledger, value):
    ledger.record(both("a", {"score": value, "fid": 3.0}, {}), BOTH)
    (failure,) = ledger.failures()
    assert failure.property == "score"
    assert f"score came out as {value}" in failure.traceback
    assert np.isnan(values_of(ledger, "a")).all()
    assert ledger.values(["a"], 1, BOTH["fid"]).item() == 3.0


def test_a_failure_counts_until_there_is_a_value(ledger):
    ledger.record(both("a", {"fid": 3.0}, {"score": "first"}), BOTH)
    ledger.record(both("a", {}, {"score": "second"}), BOTH)
    assert [failure.traceback for failure in ledger.failures()] == ["second"]
    ledger.record(outcome("a", 0.1), SCORE)
    assert ledger.failures() == []
    assert rows(ledger, "SELECT COUNT(*) FROM failures") == [(2,)]


def test_a_failure_before_any_image_is_one_of_every_property_without_value(ledger):
    ledger.record(both("a", {}, {"": "out of memory"}), BOTH)
    ledger.record(both("b", {"fid": 1.0}, {"": "out of memory"}), BOTH)
    failed = [(failure.coalition, failure.property) for failure in ledger.failures()]
    assert failed == [("a", "score"), ("a", "fid"), ("b", "score")]


def test_an_outcome_is_recorded_whole_or_not_at_all(ledger):
    with pytest.raises(KeyError):
        ledger.record(both("a", {"score": 0.1, "fid": 1.0}, {}), SCORE)
    assert count_of(ledger) == 0
    ledger.record(outcome("a", 0.2), SCORE)
    assert values_of(ledger, "a") == [0.2]


def test_mean_seconds_is_that_of_evaluations_not_of_rows_or_failures(ledger):
    assert ledger.mean_seconds() is None
    ledger.record(both("a", {"score": 1.0, "fid": 1.0}, {}), BOTH)
    ledger.record(outcome("b", 1.0, seconds=5.0), SCORE)
    ledger.record(both("c", {}, {"": "no"}), BOTH)
    assert ledger.mean_seconds() == 3.5


def test_durations_are_those_of_evaluations_replicates_by_themselves(ledger):
    assert ledger.durations() == []
    made = both("a", {"score": 1.0}, {"fid": "boom"})
    ledger.record(made, BOTH)
    ledger.record(replace(made, values={"fid": 2.0}, failures={}, seconds=0.25), BOTH)
    ledger.record(replace(made, task=Task("a", 1, ("score",)), failures={}, seconds=5.0), BOTH)
    ledger.record(replace(outcome("b", 0.5), seconds=3.0), SCORE)
    ledger.record(both("c", {}, {"": "boom"}), BOTH)
    assert sorted(ledger.durations()) == [("a", 2.0), ("a", 5.0), ("b", 3.0)]


@pytest.mark.parametrize("count", [1, 499, 500, 501, 1200])
def test_few_and_many_values_are_read_alike(ledger, count):
    ledger._connection.execute("BEGIN")  # one transaction: each is a write to disk
    for number in range(1200):
        row = (GAME, f"key-{number}", number % 2, "score", SCORE["score"], float(number))
        ledger._connection.execute(
            f"INSERT INTO evaluations VALUES ({', '.join('?' * 11)})",
            (*row, 0, 1.0, "cpu", "{}", "now"),
        )
    ledger._connection.execute("COMMIT")
    asked = np.random.default_rng(count).permutation(1300)[:count]  # some are not there
    there = np.where(asked < 1200, asked, np.nan)
    values = ledger.values([f"key-{number}" for number in asked], 2, SCORE["score"])
    np.testing.assert_array_equal(values[:, 0], np.where(asked % 2 == 0, there, np.nan))
    np.testing.assert_array_equal(values[:, 1], np.where(asked % 2 == 1, there, np.nan))
    first = ledger.values([f"key-{number}" for number in asked], 1, SCORE["score"])
    np.testing.assert_array_equal(first[:, 0], values[:, 0])


def test_seconds_are_those_of_the_coalitions_replicates_and_properties_in_question(ledger):
    ledger.record(outcome("a", 1.0, seconds=4.0), SCORE)
    ledger.record(outcome("a", 1.0, replicate=1, seconds=8.0), SCORE)
    ledger.record(outcome("b", 1.0, seconds=16.0), SCORE)
    assert ledger.seconds(["a", "a", "none"], 1, SCORE) == 4.0
    assert ledger.seconds(["a", "b"], 2, SCORE) == 28.0
    assert ledger.seconds([], 1, SCORE) == 0.0
    ledger.record(both("a", {"fid": 1.0}, {}), BOTH)  # measured later, in 2 seconds
    assert ledger.seconds(["a"], 1, BOTH) == 4.0
    assert ledger.seconds(["a"], 1, {"fid": BOTH["fid"]}) == 2.0
    assert ledger.seconds(["a", "b"], 2, None) == 28.0
    ledger.record(outcome("a", 3.0, seconds=99.0), SCORE)  # the first record counts
    assert ledger.seconds(["a"], 1, SCORE) == 4.0


# ------------------------------------------------------------------------------ what is missing


def test_missing_names_what_is_left_in_order(ledger):
    ledger.record(outcome("a", 0.1), SCORE)
    ledger.record(both("b", {"score": 1.0, "fid": 1.0}, {}), BOTH)
    ledger.record(both("c", {}, {"": "no"}), BOTH)
    assert ledger.missing(["c", "b", "a", "c"], 1, BOTH) == [
        Task("c", 0, ("score", "fid")),
        Task("a", 0, ("fid",)),
    ]
    assert ledger.missing(["b"], 2, BOTH) == [Task("b", 1, ("score", "fid"))]
    assert ledger.missing(["a", "b"], 1, SCORE) == []


def test_of_a_hundred_thousand_rows_none_is_lost(ledger):
    connection = sqlite3.connect(ledger.path)
    with connection:
        connection.executemany(
            "INSERT INTO evaluations VALUES (?, ?, 0, 'score', ?, ?, 0, 1.0, 'cpu', '{}', 'now')",
            ((GAME, f"c{n}", SCORE["score"], float(n)) for n in range(100_000)),
        )
    connection.close()
    keys = [f"c{n}" for n in range(100_001)]
    assert ledger.missing(keys, 1, SCORE) == [Task("c100000", 0, ("score",))]
    values = ledger.values(keys, 1, SCORE["score"])
    assert ledger.failures() == []
    np.testing.assert_array_equal(values[:-1, 0], np.arange(100_000))
    assert np.isnan(values[-1, 0])


def test_failures_are_looked_up_not_compared_with_every_value(ledger):
    many, some = 20_000, 1_000
    ledger._connection.execute("BEGIN")
    ledger._connection.executemany(
        "INSERT INTO evaluations VALUES (?, ?, 0, 'score', ?, 0.5, 0, 1.0, 'cpu', '{}', 'now')",
        ((GAME, f"c{n}", SCORE["score"]) for n in range(many)),
    )
    ledger._connection.executemany(
        "INSERT INTO failures VALUES (?, ?, ?, 0, 'score', ?, 'slip', 0, 1.0, 'cpu', '{}', 'now')",
        ((n, GAME, f"c{many - some // 2 + n}", SCORE["score"]) for n in range(some)),
    )
    ledger._connection.execute("COMMIT")
    ledger._connection.set_progress_handler(lambda: True, some * 1_000)  # steps, then it is ended
    assert [failure.coalition for failure in ledger.failures()] == [
        f"c{many + n}" for n in range(some // 2)
    ]


# ------------------------------------------------------------------------------ opening


def test_peeking_makes_nothing(tmp_path):
    assert Ledger.peek(tmp_path / "game", GAME) is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LedgerError, match="no such ledger"):
        Ledger(tmp_path / "ledger.sqlite", GAME)
    assert list(tmp_path.iterdir()) == []


def test_peeking_reads_what_is_there(ledger):
    ledger.record(outcome("a", 0.1), SCORE)
    with Ledger.peek(ledger.path.parent, GAME) as seen:
        assert values_of(seen, "a") == [0.1]


@pytest.mark.parametrize("being_written", [False, True])
def test_a_folder_that_may_only_be_read_is_left_as_it_is(tmp_path, monkeypatch, being_written):
    writer = Ledger.open(tmp_path, GAME, {})
    writer.record(outcome("a", 0.1), SCORE)
    if not being_written:
        writer.close()
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)
    with Ledger.peek(tmp_path, GAME) as seen:
        assert values_of(seen, "a") == [0.1]
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        with pytest.raises(CreditingError, match=r"ledger\.sqlite: .* readonly .* writable"):
            seen.record(outcome("b", 0.2), SCORE)
    writer.close()


def test_the_game_is_described_beside_its_ledger(ledger):
    description = json.loads((ledger.path.parent / "game.json").read_text())
    assert description == {"game": GAME, "content": {"budget": 1}}


def test_a_ledger_of_another_game_is_refused(ledger):
    folder = ledger.path.parent
    for attempt in (Ledger.open, lambda *arguments: Ledger.peek(*arguments[:2])):
        with pytest.raises(LedgerError, match=f"belongs to the game {GAME}, expected other"):
            attempt(folder, "other", {})
    (folder / "game.json").unlink()
    with pytest.raises(LedgerError, match=r"ledger\.sqlite belongs to the game"):
        Ledger.open(folder, "other", {})


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_a_game_file_that_cannot_be_read_is_refused(ledger, content):
    (ledger.path.parent / "game.json").write_text(content)
    with pytest.raises(LedgerError, match=r"game\.json belongs to the game None"):
        Ledger.open(ledger.path.parent, GAME, {})


def test_a_ledger_of_another_version_is_refused_and_kept(ledger):
    ledger.record(outcome("a", 0.1), SCORE)
    connection = sqlite3.connect(ledger.path)
    with connection:
        connection.execute("UPDATE meta SET schema_version = 99")
    connection.close()
    with pytest.raises(
        LedgerError, match=r"version 99, expected 1\. Nothing was changed"
    ) as caught:
        Ledger.open(ledger.path.parent, GAME, {"budget": 1})
    assert str(ledger.path) in str(caught.value)
    assert rows(ledger, "SELECT value FROM evaluations") == [(0.1,)]


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000])
def test_a_file_that_is_no_ledger_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"not a ledger.*move it away") as caught:
        Ledger.open(tmp_path, GAME, {})
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_a_damaged_ledger_says_so_and_is_kept(ledger):
    for number in range(100):
        ledger.record(outcome(f"c{number}", 0.1), SCORE)
    ledger.close()
    damaged = bytearray(ledger.path.read_bytes())
    damaged[8192:-4096] = b"\xff" * (len(damaged) - 12288)
    ledger.path.write_bytes(damaged)
    with (
        Ledger(ledger.path, GAME) as again,
        pytest.raises(LedgerError, match=r"damaged\. Nothing was deleted") as caught,
    ):
        again.missing(["c1"], 1, SCORE)
    assert str(ledger.path) in str(caught.value)
    assert ledger.path.read_bytes() == damaged


def test_a_ledger_that_another_process_holds_says_so(ledger, monkeypatch):
    monkeypatch.setattr("crediting.ledger.tables._BUSY_SECONDS", 0.1)
    holder = sqlite3.connect(ledger.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with Ledger(ledger.path, GAME) as waiting:
        with pytest.raises(LedgerError, match="Another process held it"):
            waiting.record(outcome("a", 0.1), SCORE)
        holder.execute("COMMIT")
        holder.close()
        waiting.record(outcome("a", 0.1), SCORE)
    assert values_of(ledger, "a") == [0.1]


def test_a_full_disk_names_the_ledger_and_loses_nothing(ledger):
    ledger.record(outcome("a", 0.1), SCORE)
    ((pages,),) = ledger._query("PRAGMA page_count")
    ledger._query(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(CreditingError, match=r"ledger\.sqlite: .* disk is full.*free some space"):
        ledger.record(outcome("1" * 100_000, 0.2), SCORE)
    ledger.record(outcome("b", 0.3), SCORE)
    assert values_of(ledger, "a", "b") == [0.1, 0.3]
    assert count_of(ledger) == 2


def test_every_commit_is_flushed(ledger):
    """What `record` returned from survives a power cut only with both of these."""
    assert ledger._query("PRAGMA journal_mode") == [("delete",)]
    assert ledger._query("PRAGMA synchronous") == [(3,)]


def test_a_new_ledger_is_in_its_folder_for_good(tmp_path, monkeypatch):
    """Else a power cut could take it away with all that was recorded."""
    flushed = []

    def flush(file):
        flushed.append((os.fstat(file).st_ino, (tmp_path / "ledger.sqlite").exists()))

    monkeypatch.setattr(os, "fsync", flush)
    Ledger.open(tmp_path, GAME, {}).close()
    assert (tmp_path.stat().st_ino, True) in flushed


def test_a_ledger_that_cannot_be_made_leaves_nothing_that_looks_like_one(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("crediting.ledger.tables.replace_durably", full)
        with pytest.raises(OSError, match="No space left"):
            Ledger.open(tmp_path, GAME, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ledger.lock", "game.json"]
    Ledger.open(tmp_path, GAME, {}).close()


def test_a_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "100%25 of a#1? b"
    with Ledger.open(folder, GAME, {}) as ledger:
        ledger.record(outcome("a", 0.1), SCORE)
    with Ledger.peek(folder, GAME) as seen:
        assert values_of(seen, "a") == [0.1]


def test_a_new_ledger_waits_for_the_disk_once(tmp_path):
    """Bytes 24 to 28 of its file count the transactions (SQLite file format, section 1.3.7)."""
    Ledger.open(tmp_path, GAME, {}).close()
    assert (tmp_path / "ledger.sqlite").read_bytes()[24:28] == b"\0\0\0\1"


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, "mend the disk"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "make it and its folder writable"),
        (sqlite3.SQLITE_CANTOPEN_FULLPATH, "make it and its folder writable"),
        (sqlite3.SQLITE_CORRUPT_INDEX, "It is damaged"),
        (sqlite3.SQLITE_BUSY_RECOVERY, "Another process held it"),
    ],
)
def test_errors_told_in_detail_are_those_that_they_are_a_kind_of(tmp_path, code, advice):
    error = sqlite3.OperationalError("in detail")
    error.sqlite_errorcode = code
    with pytest.raises(CreditingError, match=advice), explained(tmp_path / "ledger.sqlite"):
        raise error


def test_a_ledger_moved_away_without_its_log_is_not_raised_from_the_dead(tmp_path):
    with Ledger.open(tmp_path, GAME, {}) as ledger:
        ledger.record(outcome("a", 0.1), SCORE)
    (tmp_path / "ledger.sqlite").rename(tmp_path / "away")
    log = tmp_path / "ledger.sqlite-journal"
    log.write_bytes(b"what was written last")
    with pytest.raises(LedgerError, match=r"was moved away, and ledger\.sqlite-journal was not"):
        Ledger.open(tmp_path, GAME, {})
    log.unlink()
    with Ledger.open(tmp_path, GAME, {}) as fresh:
        assert np.isnan(values_of(fresh, "a")).all()


def test_a_ledger_that_is_there_is_opened_without_a_lock(tmp_path, monkeypatch):
    """So that a study with nothing left to evaluate ends where it may only read."""
    with Ledger.open(tmp_path, GAME, {}) as ledger:
        ledger.record(outcome("a", 0.1), SCORE)
    (tmp_path / ".ledger.lock").unlink()
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)
    with Ledger.open(tmp_path, GAME, {}) as ledger:
        assert values_of(ledger, "a") == [0.1]
    assert not (tmp_path / ".ledger.lock").exists()


def test_a_ledger_that_was_deleted_and_one_made_anew_are_told_apart(tmp_path):
    births = []
    for _ in range(2):
        for _ in range(2):
            with Ledger.open(tmp_path, GAME, {}) as ledger:
                births.append(ledger.birth)
        (tmp_path / "ledger.sqlite").unlink()
    assert births[0] == births[1] != births[2] == births[3]
