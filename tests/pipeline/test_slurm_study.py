"""A whole study whose coalitions are evaluated in jobs: the same values as in this process."""

import pickle
from dataclasses import replace

import pytest
from miniature_study import make_study, read_ledgers

from crediting.ledger import Ledger
from crediting.pipeline import stages
from crediting.pipeline.evaluate.diffusion_game import GameFactory

ON_A_CLUSTER = (
    *("executor=slurm", "executor.cluster=local", "executor.workers=1"),
    *("executor.jobs_per_submission=99", "executor.poll_seconds=0.2"),
)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_jobs_record_what_this_process_would(tmp_path):
    recorded = {}
    for name, words in (("serial", ()), ("slurm", ON_A_CLUSTER)):
        stages.run(make_study(tmp_path / name, "property=[fid]", *words), "all")
        recorded[name] = read_ledgers(tmp_path / name)
    assert recorded["slurm"] == recorded["serial"] != {}
    tables = [
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("studies/*/shapley_*.csv")}
        for name in recorded
    ]
    assert tables[0] == tables[1] != {}
    assert len(list((tmp_path / "slurm/slurm/logs").glob("*_submitted.pkl"))) == 1


def test_an_evaluator_is_known_again_by_whatever_changes_its_outcomes(tmp_path):
    def identity(*words):
        return identity_in(make_study(tmp_path, *words))

    def identity_in(study, spec=None):
        address = (spec or study.game).address
        Ledger.open(study.stored_in(address), address.fingerprint, {}).close()
        return GameFactory(study, spec or study.game).identity

    own = identity()
    same = ("estimator=kernel_shap", "property.fid.extractor=reference_classifier")
    assert identity(*same, "plan.coalitions=7", *ON_A_CLUSTER) == own
    others = ("plan.finetuning_steps=3", "seed=1", "extractor.reference_classifier.steps=21")
    assert len({own, *map(identity, others)}) == 4
    study = make_study(tmp_path)
    dense = replace(study, endpoints=study.dense)
    assert identity_in(dense, dense.endpoints) != own
    (study.stored_in(study.game.address) / "ledger.sqlite").unlink()
    assert identity() != own  # whoever deletes a ledger means to evaluate anew


def test_what_travels_to_a_job_is_small(tmp_path):
    study = make_study(tmp_path, *ON_A_CLUSTER)
    assert len(pickle.dumps(GameFactory(study, study.game))) < 100_000
