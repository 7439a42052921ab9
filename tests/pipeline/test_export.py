"""The table of a study's coalitions: complete, exact, and enough to work out the same credits."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from crediting import config
from crediting.errors import DataError, LedgerError
from crediting.game.coalition import all_coalitions, coalition_key
from crediting.game.game import play
from crediting.game.recorded import read_recorded
from crediting.interfaces import Outcome, Task
from crediting.ledger import Ledger
from crediting.pipeline import recorded as recorded_game
from crediting.pipeline import stages
from crediting.pipeline.estimate.stage import estimate
from crediting.pipeline.report.stage import results_of

PROPERTIES = "property=[fid,inception_score]"


def record(study, spec, coalitions, properties=None, offset=0.0):
    """Put utilities that depend on coalition, replicate and property into the ledger of a game."""
    folder, game = study.stored_in(spec.address), spec.address.fingerprint
    names = tuple(properties or study.properties)
    with Ledger.open(folder, game, {}) as ledger:
        for coalition in coalitions:
            for replicate in study.replicates:
                task = Task(coalition_key(coalition), replicate, names)
                values = {name: offset + utility(coalition, replicate, name) for name in names}
                outcome = Outcome(task, values, {}, seed=0, seconds=1.0, device="cpu fp32")
                ledger.record(outcome, study.property_fingerprints)


def utility(coalition, replicate, name):
    return float(np.random.default_rng([*map(int, coalition), replicate, len(name)]).normal())


def exported(study):
    stages.run(study, "export")
    return read_recorded(study.folder / "utilities.csv", list(study.properties))


def lines(study):
    return (study.folder / "utilities.csv").read_text().splitlines()


def rows(*members):
    return np.array([[player in row for player in range(4)] for row in members])


def test_the_table_of_an_evaluated_study_gives_its_exact_credits(study, capsys):
    overrides = ("estimator=exact", PROPERTIES, "partition.contributors=2")
    evaluated = study(*overrides, "plan.recovery_steps=1", "plan.finetuning_steps=1")
    for stage in ("encode", "train", "prune", "extract", "evaluate"):
        stages.run(evaluated, stage)
    recorded = exported(evaluated)
    said = capsys.readouterr().out
    assert str(evaluated.folder / "utilities.csv") in said
    assert said.endswith('+experiment=recorded reads them with "game.lower_is_better=[fid]"\n')
    assert recorded == read_recorded(evaluated.folder / "utilities.csv", None)
    assert recorded.names == tuple(evaluated.partition.names)
    assert recorded.is_complete
    for name, finding in estimate(evaluated).items():
        again = evaluated.estimator(play(recorded.of(name), evaluated.sample))
        np.testing.assert_array_equal(again.credits, finding.attribution.credits)


@pytest.mark.parametrize("endpoints", ["same", "dense"])
def test_the_table_gives_the_credits_and_intervals_of_sampled_coalitions(study, endpoints):
    sampled = study(PROPERTIES, f"endpoints={endpoints}", "replicates=3", "design.budget=20")
    record(sampled, sampled.game, sampled.coalitions(sampled.game))
    record(sampled, sampled.endpoints, sampled.ends)
    recorded = exported(sampled)
    assert recorded.n_rows == 3 * recorded.n_coalitions
    for name, finding in estimate(sampled).items():
        noise, measured = recorded.noises[name], finding.sample
        assert noise == pytest.approx((measured.noise_variance, measured.noise_degrees), rel=1e-12)
        again = sampled.estimator(play(recorded.of(name), sampled.sample, *noise))
        for field in ("credits", "std_errors", "ci_low", "ci_high", "noise_errors"):
            found, expected = getattr(again, field), getattr(finding.attribution, field)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_recorded_game_gives_the_table_of_the_study(study, resolved):
    sampled = study(PROPERTIES, "replicates=2", "plan.coalitions=12")
    record(sampled, sampled.game, sampled.coalitions(sampled.game))
    exported(sampled)
    overrides = [
        *("+experiment=recorded", f"game.path={sampled.folder / 'utilities.csv'}"),
        *("game.rows=design", "plan.coalitions=12", "game.lower_is_better=[fid]"),
        f"paths.outputs={sampled.config['paths']['outputs']}",
    ]
    plain = resolved(*overrides)
    recorded_game.run(plain, config.build(plain, recorded_game.GROUPS), overrides)
    for name, finding in estimate(sampled).items():
        path = sampled.folder.parent / "recorded" / f"shapley_{name}.csv"
        with path.open(newline="") as file:
            found = {row["contributor"]: row for row in csv.DictReader(file)}
        of_study = results_of(sampled, {name: finding}).tables[name].rows
        assert list(found) == [row.contributor for row in of_study]
        for row in of_study:
            for column in ("credit", "std_error", "noise_error", "ci_low", "p_top"):
                expected = getattr(row, column)
                read = float(found[row.contributor][column] or "nan")
                assert read == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


def test_rows_go_by_size_and_then_by_key(study):
    whole = study("property=[fid]")
    record(whole, whole.game, np.random.default_rng(0).permutation(all_coalitions(4)))
    exported(whole)
    header, *body = lines(whole)
    assert header == ",".join([*whole.partition.names, "fid"])
    written = [tuple(map(int, line.split(",")[:4])) for line in body]
    keys = [coalition_key(np.array(row, dtype=bool)) for row in written]
    assert len(set(keys)) == 16
    assert keys == sorted(keys)  # sizes have one digit here


def test_sizes_of_two_digits_come_after_those_of_one(study):
    of_many = study("property=[fid]", "partition.contributors=12", "design.budget=60")
    record(of_many, of_many.game, of_many.coalitions(of_many.game))
    exported(of_many)
    rows = [np.array(line.split(",")[:12]) == "1" for line in lines(of_many)[1:]]
    order = [(row.sum(), coalition_key(row)) for row in rows]
    assert order == sorted(order)
    assert len(order) == len(of_many.coalitions(of_many.game))


def test_the_ends_are_those_of_the_endpoints(study):
    dense = study("property=[fid]", "endpoints=dense")
    record(dense, dense.game, all_coalitions(4))
    record(dense, dense.endpoints, dense.ends, offset=100.0)
    recorded = exported(dense)
    assert len(lines(dense)) == 1 + 16
    sizes = recorded.coalitions.sum(axis=1)
    is_far = recorded.of("fid")(recorded.coalitions) > 50
    np.testing.assert_array_equal(is_far, (sizes == 0) | (sizes == 4))


def test_only_coalitions_with_every_property_and_replicate_are_written(study):
    both = study(PROPERTIES, "replicates=2")
    record(both, both.game, [*both.ends, *rows([0], [1, 2])])
    record(both, both.game, rows([1]), ["fid"])
    record(study(PROPERTIES), both.game, rows([2]))
    recorded = exported(both)
    np.testing.assert_array_equal(recorded.coalitions, rows([], [0], [1, 2], [0, 1, 2, 3]))
    means = [(utility(c, 0, "fid") + utility(c, 1, "fid")) / 2 for c in recorded.coalitions]
    np.testing.assert_array_equal(recorded.of("fid")(recorded.coalitions), means)


def test_without_ends_there_is_no_table(study):
    empty = study("property=[fid]")
    with pytest.raises(LedgerError, match="stage=evaluate"):
        stages.run(empty, "export")
    record(empty, empty.game, [*empty.ends[:1], *rows([0])])
    with pytest.raises(LedgerError, match=r"v\(N\) or v\(empty\) .* stage=evaluate"):
        stages.run(empty, "export")
    assert not empty.folder.exists()


@pytest.mark.parametrize("replicates", [1, 2])
@pytest.mark.parametrize("name", ["fid", "replicate", "Replicate"])
def test_a_contributor_called_like_another_column_is_refused(study, name, replicates):
    made = study("property=[fid]", f"replicates={replicates}")
    first, *others = made.partition.contributors
    renamed = replace(made.partition, contributors=[replace(first, name=name), *others])
    with pytest.raises(DataError, match=f"both: {name}"):
        stages.run(replace(made, partition=renamed), "export")
