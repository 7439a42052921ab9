"""The package as others install it: from a wheel, away from the checkout."""

import subprocess
import sys
from pathlib import Path

import pytest

from crediting import config

CHECKOUT = config.CONFIG_DIR.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHECKOUT / "pyproject.toml").exists(), reason="needs a checkout"),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Return the folder into which the wheel was installed, and nothing else."""
    dist, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    python = [sys.executable, "-m"]
    build = ["build", "--wheel", "--no-isolation", "--outdir", str(dist), str(CHECKOUT)]
    subprocess.run([*python, *build], check=True, capture_output=True)
    (wheel,) = dist.glob("crediting-*.whl")
    install = ["pip", "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([*python, *install], check=True, capture_output=True)
    return site


@pytest.fixture(scope="module")
def run_installed(installed, run_credit, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    return lambda *args: run_credit(*args, cwd=elsewhere, env={"PYTHONPATH": str(installed)})


def test_the_installed_package_is_the_one_that_runs(installed, tmp_path):
    program = "import crediting.config as c; print(c.__file__, c.CONFIG_DIR)"
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    package = installed / "crediting"
    said = finished.stdout.split()
    assert said == [str(package / "config" / "__init__.py"), str(package / "configs")]
    assert (installed / "bin/credit").exists()


def test_every_config_file_is_in_the_wheel(installed):
    folder = installed / "crediting/configs"
    shipped = {path.relative_to(folder) for path in folder.rglob("*.yaml")}
    assert shipped == {p.relative_to(config.CONFIG_DIR) for p in config.CONFIG_DIR.rglob("*.yaml")}


@pytest.mark.parametrize("args", [("--help",), ("--cfg", "job"), ("-sc", "install=bash")])
def test_it_says_the_same_as_the_checkout(args, run_installed, run_credit, tmp_path):
    finished = run_installed(*args)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == run_credit(*args, cwd=tmp_path).stdout


def test_experiments_are_found(run_installed):
    finished = run_installed("+experiment=digits_exact", "--cfg", "job")
    assert "name: digits_exact" in finished.stdout
