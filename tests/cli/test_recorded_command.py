"""`credit +experiment=recorded` as it is typed: light, and in sweeps as well."""

import json
import subprocess
import sys

import pytest

TABLE = "ann,bob,fid\n0,0,1.5\n1,0,2.5\n0,1,3.5\n1,1,7.5\n"
PROGRAM = """
import json, sys
from crediting.cli import main
sys.argv = ["credit", "+experiment=recorded", "game.path=game.csv", "estimator=kernel_shap"]
main()
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "game.csv").write_text(TABLE)
    return tmp_path


def test_torch_is_not_imported(folder):
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True, check=True
    )
    libraries = set(json.loads(finished.stdout.splitlines()[-1]))
    assert "numpy" in libraries
    heavy = {"torch", "torchvision", "diffusers", "transformers", "accelerate", "peft", "sklearn"}
    assert libraries & heavy == set()
    assert (folder / "outputs/studies/recorded/shapley_fid.csv").exists()


def test_a_sweep_has_a_folder_for_each_estimator(folder, credit):
    finished = credit(
        *("-m", "+experiment=recorded", "game.path=game.csv", "estimator=exact,kernel_shap"),
        cwd=folder,
    )
    assert finished.returncode == 0, finished.stderr
    studies = sorted(path.name for path in (folder / "outputs/studies").iterdir())
    varied = [name.split("__")[1] for name in studies]
    assert varied == ["estimator=exact", "estimator=kernel_shap"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "game.path: expected a table of coalitions and their utilities, got nothing"),
        (["game.path=null"], "game.path: expected a table of coalitions and their utilities"),
        (["game.path=absent.csv"], "absent.csv"),
        (["game.path=game.csv", "model=ddpm"], "remove them: model=ddpm"),
    ],
)
def test_mistakes_get_one_message(words, complaint, folder, credit):
    finished = credit("+experiment=recorded", words, cwd=folder)
    assert finished.returncode == 2, finished.stderr
    assert finished.stderr.count("credit: ") == 1
    assert complaint in finished.stderr
    assert not (folder / "outputs").exists()
