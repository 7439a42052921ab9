"""What a user reads after a mistake: exit code 2, one message that names the key, no traceback."""

import pytest
from credit_forks import nothing_was_trained


def the_one_message(finished) -> str:
    """Return what the command said, checked to be one message of a user error."""
    assert finished.returncode == 2, finished.stderr
    said = finished.stderr
    assert said.count("credit: ") == 1, said
    assert "Traceback" not in said
    assert "HYDRA_FULL_ERROR" not in said
    assert finished.stdout == ""
    return said[said.index("credit: ") :]


QUICKLY_NOTICED = {
    "an unknown option": (
        ["design=nope"],
        ["design=nope: there is no such option", "permutation, shapley_kernel, stratified"],
    ),
    "an unknown option in a list": (
        ["property=[fid,nope]"],
        ["property=nope: there is no such option", "diversity, fid, inception_score"],
    ),
    "an unknown experiment": (["+experiment=nope"], ["experiment=nope", "digits_exact"]),
    "a forgotten plus": (["experiment=digits_exact"], ["use +experiment=digits_exact"]),
    "a misspelt group": (["desing=exhaustive"], ["desing: there is no such", "mean design?"]),
    "a misspelt key": (
        ["model.training.stpes=3"],
        ["model.training.stpes: there is no such setting; did you mean steps?"],
    ),
    "a misspelt key with a plus": (["+sede=3"], ["sede: there is no such setting", "seed"]),
    "a wrong type": (["seed=abc"], ["seed: ", "'abc'", "Integer"]),
    "one for a list": (
        ["game.lower_is_better=fid"],
        ["game.lower_is_better: expected a list, for instance of one: [value]"],
    ),
    "nothing where there must be something": (
        ["report.grid=null"],
        ["report.grid: expected a value, got null"],
    ),
    "nothing for a whole section": (["stop=null"], ["stop: expected a value, got null"]),
    "nothing for a group": (["estimator=null"], ["choose an option by its name, group=option"]),
    "text for numbers": (
        ["estimator.towards=[1,x]"],
        ["estimator.towards: expected numbers", "'x'"],
    ),
    "a wrong choice": (["stage=tain"], ["stage: ", "'tain'", "all, fetch, encode, train, prune"]),
    "a missing value": (["design.budget=???"], ["no value yet: design.budget=<value>"]),
    "a section that was removed": (["~stop"], ["no value yet: stop.budget=<value>, stop.ci_w"]),
    "a number for a group of settings": (
        ["plan=20"],
        ["plan: expected settings below it", "got 20"],
    ),
    "a setting that was removed": (["~report.grid"], ["report.grid: it cannot be removed; give"]),
    "a setting that is null and was removed": (
        ["~stop.ci_width"],
        ["~stop.ci_width: there is nothing to remove; it is null already, or there is no such"],
    ),
    "options that cannot be removed together": (
        ["~property"],
        ["~property: no option is chosen that this removes; choose others, group=option or group"],
    ),
    "a group that was removed": (["~dataset"], ["no value yet: dataset=<option>\n"]),
    "none of what there must be": (["property=[]"], ["no value yet: property=[<option>, ...]"]),
    "an estimator of a method that chooses the design of the study": (
        ["+estimator@method.estimator_2.estimator=leave_one_out"],
        [
            "estimator@method.estimator_2.estimator=leave_one_out: it would choose "
            "design=leave_one_out for the study itself; add design=paired_uniform to keep",
            "and +design@method.estimator_2.design=leave_one_out if the method is to have it",
        ],
    ),
    "no folder": (["paths.outputs="], ["paths.outputs: expected a path, got ''"]),
    "something unreadable": (["design"], ["cannot read 'design': expected group=option"]),
    "a name with a space before the equals sign": (
        ["+report.payout.fid score=7"],
        ["A name with spaces goes into braces: '+report.payout={fid score: 7}'"],
    ),
    "quotes in braces": (
        ["+report.payout={a: 1, 'fid score': 7}"],
        ["quote lists. In braces, what stands before a colon has no quotes"],
    ),
    "a home folder that the shell leaves alone": (
        ["dataset.root=~/photos"],
        ["cannot read 'dataset.root=~/photos'", "type 'dataset.root=\"~/photos\"'"],
    ),
    "letters that Hydra does not know": (
        ["axioms.null_players=[Zoë]"],
        ["""type 'axioms.null_players=["Zoë"]'"""],
    ),
    "a name that is read as a number": (
        ["name=2024_05_01"],
        ["name: 2024_05_01 is read as 20240501", "type 'name=\"2024_05_01\"'"],
    ),
    "a name that loses a digit as a number": (
        ["name=1.50"],
        ["name: 1.50 is read as 1.5;", "type 'name=\"1.50\"'"],
    ),
    "a part of a list that is read as a number": (
        ["axioms.null_players=[ann, 1.50]"],
        ["axioms.null_players: [ann, 1.50] is read as 1.5;"],
    ),
    "a name that is too long": (
        [f"name={'x' * 300}"],
        ["name: expected at most 200 bytes"],
    ),
    "a reference to nothing": (["seed=${sede}"], ["seed: ", "'sede' not found"]),
    "a folder that is not there": (["--config-dir", "nope"], ["nope' not found"]),
    "an unwritable folder of a sweep": (
        ["-m", "seed=0,1", "paths.outputs={file}/below"],
        ["{file}/below", "part of the path is a file", "paths.outputs=<folder>"],
    ),
}
SLOWLY_NOTICED = {
    "several at once": (
        [
            "+pruning.ratoi=1",
            "property.fid._target_=crediting.properties.FID",
            "generation.steps=few",
        ],
        ["pruning.ratoi: ", "property.fid._target_: cannot import", "generation.steps: expected"],
    ),
    "a budget too small": (
        ["estimator=paper", "design.budget=1"],
        ["design.budget: ", "at least 2", "got 1"],
    ),
    "a baseline that looks at more images than are drawn": (
        ["stage=compare", "baseline=[trak]", "baseline.trak.generated=10000"],
        ["baseline.trak.generated: ", "at most the 256 images", "got 10000; lower it"],
    ),
    "an estimator and a design that do not fit": (
        ["estimator=exact", "design=leave_one_out"],
        ["estimator=exact cannot use", "design=leave_one_out", "it can use design=exhaustive"],
    ),
    "contributors without images": (
        ["partition=by_shards", "partition.contributors=2000"],
        ["partition.contributors", "at most 1297", "lower one of them"],
    ),
    "an unknown column": (
        ["partition.column=lable"],
        ["partition.column: ", "got 'lable'", "did you mean label?"],
    ),
    "an unwritable folder": (
        ["paths.outputs={file}/below"],
        ["{file}/below", "part of the path is a file", "paths.outputs=<folder>"],
    ),
    "a parameter that the scheduler does not know": (
        ["executor=slurm", "executor.cluster=local", "+executor.parameters.slurm_foo=1"],
        ["executor.parameters: ", "slurm_foo"],
    ),
    "a device that is not there": (
        ["runtime.device=cuda"],
        ["runtime.device: there is no cuda here", "cpu"],
    ),
}
NO_ACCELERATOR = {"CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def said_after(credit, tmp_path):
    """Return `said_after(mistake)`: the one message, and what it should mention."""
    file = tmp_path / "a_file"
    file.touch()

    def run(mistake: tuple[list[str], list[str]]) -> tuple[str, list[str]]:
        overrides, mentioned = ([t.replace("{file}", str(file)) for t in part] for part in mistake)
        finished = credit(*overrides, cwd=tmp_path, env=NO_ACCELERATOR)
        return the_one_message(finished), mentioned

    return run


@pytest.mark.parametrize("mistake", QUICKLY_NOTICED.values(), ids=QUICKLY_NOTICED)
def test_a_mistake_in_the_command(mistake, said_after, tmp_path):
    message, mentioned = said_after(mistake)
    assert [text for text in mentioned if text not in message] == [], message
    assert [path.name for path in tmp_path.iterdir()] == ["a_file"], "something was left behind"


@pytest.mark.slow
@pytest.mark.parametrize("mistake", SLOWLY_NOTICED.values(), ids=SLOWLY_NOTICED)
def test_a_mistake_in_what_is_asked(mistake, said_after, tmp_path):
    message, mentioned = said_after(mistake)
    assert nothing_was_trained(tmp_path / "outputs")
    assert [text for text in mentioned if text not in message] == [], message


# ------------------------------------------------------------------------------ a user's folder


@pytest.fixture
def mine(tmp_path):
    """A user's folder of options: `mine(path, text)` writes one."""

    def write(path: str, text: str) -> list[str]:
        file = tmp_path / "mine" / path
        file.parent.mkdir(parents=True)
        file.write_text(text)
        return ["--config-dir", "mine"]

    return write


def test_a_missing_value_in_a_file(mine, credit, tmp_path):
    folder = mine("dataset/mine.yaml", "_target_: crediting.datasets.Digits\ntrain: ???\n")
    message = the_one_message(credit(*folder, "dataset=mine", cwd=tmp_path))
    assert message == "credit: these settings have no value yet: dataset.train=<value>\n"


def test_a_misspelt_key_in_an_experiment(mine, credit, tmp_path):
    folder = mine("experiment/mine.yaml", "# @package _global_\nnmae: x\n")
    message = the_one_message(credit(*folder, "+experiment=mine", cwd=tmp_path))
    expected = "experiment/mine.yaml: nmae: there is no such setting; did you mean name?"
    assert message == f"credit: {expected}\n"


def test_a_file_that_is_no_yaml(mine, credit, tmp_path):
    folder = mine("experiment/mine.yaml", "seed: 1: 2\n")
    message = the_one_message(credit(*folder, "+experiment=mine", cwd=tmp_path))
    assert "mine.yaml" in message
    assert "line 1" in message


def test_a_shadowed_option(mine, credit, tmp_path):
    folder = mine("model/ddpm.yaml", "_target_: my.Model\n")
    message = the_one_message(credit(*folder, cwd=tmp_path))
    assert "mine/model/ddpm.yaml" in message
    assert "give them other names" in message


def test_a_part_that_lacks_what_it_needs(mine, credit, tmp_path):
    (tmp_path / "bare.py").write_text("class Estimator:\n    name = 'bare'\n")
    folder = mine("estimator/bare.yaml", "_target_: bare.Estimator\n")
    finished = credit(
        *folder, "estimator=bare", "dry_run=true", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}
    )
    assert "Estimator has no __call__, designs, minimum_coalitions; " in the_one_message(finished)


def test_a_property_without_its_name(mine, credit, tmp_path):
    folder = mine("property/mine.yaml", "_target_: crediting.properties.FrechetDistance\n")
    message = the_one_message(credit(*folder, "property=[mine]", "dry_run=true", cwd=tmp_path))
    assert "property: of it several may be chosen, so every option of yours begins" in message
    assert "put crediting.properties.FrechetDistance under one" in message


# ------------------------------------------------------------------------------ bugs


@pytest.mark.slow
def test_a_bug_keeps_its_traceback(mine, credit, tmp_path):
    (tmp_path / "buggy.py").write_text(
        "class Design:\n"
        "    name = 'buggy'\n"
        "    def sample(self, n_players):\n"
        "        return 1 / 0\n"
    )
    folder = mine("estimator/buggy.yaml", "_target_: buggy.Estimator\n")
    (tmp_path / "mine/design").mkdir()
    (tmp_path / "mine/design/buggy.yaml").write_text("_target_: buggy.Design\n")
    with (tmp_path / "buggy.py").open("a") as file:
        file.write(
            "class Estimator:\n"
            "    name, designs = 'buggy', ('buggy',)\n"
            "    def minimum_coalitions(self, n_players): ...\n"
            "    def __call__(self, sample): ...\n"
        )
    chosen = ["design=buggy", "estimator=buggy"]
    finished = credit(*folder, chosen, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert finished.returncode == 1
    assert finished.stderr.count("Traceback") == 1
    assert "return 1 / 0" in finished.stderr
    assert finished.stderr.endswith(
        "ZeroDivisionError: division by zero\n"
        "It passed through buggy, no part of crediting, named by design._target_, "
        "estimator._target_.\n"
    )
    assert "credit: " not in finished.stderr


@pytest.mark.slow
def test_own_code_that_exits_does_not_pass_for_the_end(mine, credit, tmp_path):
    (tmp_path / "leaving.py").write_text("import sys\n\n\ndef design():\n    sys.exit(0)\n")
    folder = mine("design/leaving.yaml", "_target_: leaving.design\n")
    finished = credit(*folder, "design=leaving", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert finished.returncode == 1
    assert finished.stderr.count("Traceback") == 1
    assert "sys.exit(0)\nSystemExit: 0\n" in finished.stderr


def test_a_traceback_of_a_user_error_can_be_had(run_credit, tmp_path):
    finished = run_credit("sede=1", cwd=tmp_path, env={"HYDRA_FULL_ERROR": "1"})
    assert finished.returncode == 2
    assert finished.stderr.count("credit: sede: there is no such setting") == 1
    assert "Traceback" in finished.stderr
