"""What holds for every module: nothing unsafe, nothing long, nothing public without a docstring."""

from pathlib import Path

import pytest
from source_rules import (
    MOST_FUNCTION_LINES,
    MOST_MODULE_LINES,
    over_all,
    too_long,
    undocumented,
    unsafe,
)

import crediting

ROOT = Path(crediting.__file__).parent
SOURCES = {str(path.relative_to(ROOT)): path.read_text() for path in sorted(ROOT.rglob("*.py"))}
MAY_PICKLE = dict.fromkeys(
    ("executors/processes.py", "executors/ray_cluster.py", "executors/worker.py"),
    "what a worker evaluates is handed to it in memory, in a form whose failure to unpickle can be "
    "reported; nothing pickled is ever written or read",
) | dict.fromkeys(
    ("executors/slurm.py", "executors/slurm_job.py"),
    "the same, on its way to a job; submitit carries it there in a file of its own making",
)
MAY_UNPICKLE = {
    "datasets/pickled.py": "the published format of CIFAR is a pickle: all that it can name is "
    "arrays and containers, from a fixed table, and its digest is checked before"
}
MAY_BE_LONG = {"interfaces.py": "every extension point on one page: docstrings, no code"}


def test_nothing_unsafe():
    assert over_all(SOURCES, unsafe, MAY_PICKLE | MAY_UNPICKLE) == []


@pytest.mark.parametrize("module", MAY_PICKLE)
def test_exemptions_are_still_needed_and_stay_in_memory(module):
    source = SOURCES[module]
    found = unsafe(source)
    assert [text.split(": ")[1] for text in found] == ["imports pickle"]
    assert ("pickle.dumps(" in source) != ("pickle.loads(" in source)
    assert "pickle.dump(" not in source
    assert "pickle.load(" not in source
    assert "open(" not in source


@pytest.mark.parametrize("module", MAY_UNPICKLE)
def test_what_may_unpickle_finds_no_class_by_itself(module):
    source = SOURCES[module]
    assert [text.split(": ")[1] for text in unsafe(source)] == ["imports pickle"]
    assert "def find_class(" in source
    for way_out in (
        "pickle.load(",
        "pickle.loads(",
        "super().find_class",
        "import_module",
        "open(",
    ):
        assert way_out not in source


def test_nothing_too_long():
    assert over_all(SOURCES, too_long, MAY_BE_LONG) == []


def test_nothing_public_without_a_docstring():
    assert over_all(SOURCES, undocumented, {}) == []


def test_the_entry_point_is_short():
    assert len(SOURCES["cli.py"].splitlines()) < 100


# ------------------------------------------------------------------------------ the rules can fail


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("import pickle", "1: imports pickle"),
        ("def f():\n    from dill.source import x", "2: imports dill.source.x"),
        ("eval('1')", "1: calls eval"),
        ("torch.load(path)", "1: calls torch.load without weights_only=True"),
        ("torch.load(path, weights_only=False)", "1: calls torch.load without weights_only=True"),
        ("np.load(path)", "1: calls np.load without allow_pickle=False"),
    ],
)
def test_unsafe_source_is_found(source, finding):
    assert unsafe(source) == [finding]
    assert over_all({"m": source}, unsafe, {}) == [f"m: {finding}"]
    assert over_all({"m": source}, unsafe, {"m": "a reason"}) == []


def test_safe_source_is_not():
    assert unsafe("torch.load(path, weights_only=True)\nmodel.eval()\nre.compile('x')") == []
    assert unsafe("from pickle import UnpicklingError") == []


def test_long_source_is_found():
    assert too_long("x = 1\n" * (MOST_MODULE_LINES + 1)) == ["module: 301 lines"]
    function = "def f():\n" + "    x = 1\n" * MOST_FUNCTION_LINES
    assert too_long(function) == ["f: 61 lines"]
    assert too_long("class C:\n" + function.replace("def", " def")) == ["f: 61 lines"]
    assert too_long(function.replace("    x = 1\n", "", 1)) == []


def test_undocumented_source_is_found():
    source = (
        "def f(): ...\ndef _g(): ...\nclass C:\n    def h(self): ...\nclass _D:\n    def i(): ..."
    )
    assert undocumented(source) == ["the module", "f", "C", "C.h"]
    assert undocumented('"""M."""\ndef f():\n    """F."""') == []
