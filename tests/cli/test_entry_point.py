"""`credit` before anything runs: light, helpful, complete."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from crediting import config
from crediting.config.schema import Schema
from crediting.config.words import flags_first, refuse_rewritten, sweep_name
from crediting.errors import ConfigError

EXECUTORS = [path.stem for path in (config.CONFIG_DIR / "executor").glob("*.yaml")]
HEAVY = "torch torchvision diffusers transformers accelerate peft torchmetrics torch_pruning"
HEAVY += " numpy scipy sklearn matplotlib rich PIL pandas"
INSPECT = """
import json, sys
{statements}
print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))
"""
CALL_HELP = """
from crediting.cli import main
sys.argv = ["credit", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""


def modules_after(statements: str, folder: Path) -> set[str]:
    """Return the names of the libraries that a fresh interpreter has imported in the end."""
    program = INSPECT.format(statements=statements)
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(json.loads(finished.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def help_text(run_credit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("help")
    finished = run_credit("--help", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    assert list(folder.iterdir()) == []
    return finished.stdout


def unwrapped(help_text):
    """Return the help with the options of every group in one line."""
    return re.sub(r"\n {40,}", "  ", help_text)


@pytest.mark.parametrize("statements", ["import crediting.cli", CALL_HELP])
def test_nothing_heavy_is_imported(statements, tmp_path):
    assert modules_after(statements, tmp_path) & set(HEAVY.split()) == set()


def test_heavy_imports_would_be_noticed(tmp_path):
    assert "numpy" in modules_after("import numpy", tmp_path)


def test_help_lists_every_group_and_option(help_text):
    filled = [line for line in unwrapped(help_text).splitlines() if line.split()]
    lines = {line.split()[0].lstrip("+"): line for line in filled}
    groups = [path for path in config.CONFIG_DIR.iterdir() if path.is_dir()]
    groups.remove(config.CONFIG_DIR / "parts")  # with which options begin: no choice themselves
    for group in groups:
        listed = lines[group.name].replace("*", "").split()
        options = group.glob("*.yaml") if group.name != "size" else group.iterdir()
        missing = {path.stem for path in options} - set(listed)
        assert not missing, f"{group.name} lacks {missing}"


def test_help_stars_what_is_chosen(help_text, run_credit, tmp_path):
    assert "*bayesian" in help_text
    assert "*diversity  *fid  *inception_score" in unwrapped(help_text)
    chosen = ["estimator=exact", "property=[fid]", "--help"]
    text = run_credit(*chosen, cwd=tmp_path).stdout
    assert "*exact" in text
    assert "diversity  *fid  inception_score" in unwrapped(text)
    assert "*exhaustive" in text


def test_help_names_every_setting(help_text):
    groups = {path.name for path in config.CONFIG_DIR.iterdir() if path.is_dir()}
    sections = {
        "report": ("top", "grid", "interactions"),
        "paths": ("outputs",),
        **dict.fromkeys(("plan", "stop", "game", "axioms", "compare", "calibrate"), ("<key>",)),
    }
    for name in set(Schema.__dataclass_fields__) - groups:
        for key in [f"{name}.{key}" for key in sections.get(name, ())] or [name]:
            assert f"\n  {key} " in help_text, key


def test_help_fits_a_terminal_and_shows_examples(help_text):
    assert max(map(len, help_text.splitlines())) <= 100
    for example in ("credit dry_run=true", "credit +experiment=", "credit -m ", "--config-dir"):
        assert f"\n  {example}" in help_text or f"\n  credit {example}" in help_text


def test_the_whole_config_can_be_shown(run_credit, tmp_path, resolved):
    finished = run_credit("--cfg", "job", "--resolve", cwd=tmp_path)
    assert finished.returncode == 0
    shown = yaml.safe_load(finished.stdout)
    shown["paths"]["outputs"] = resolved()["paths"]["outputs"]
    assert shown == resolved()


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("credit executor=", {f"executor={name}" for name in EXECUTORS}),
        ("credit design.bu", {"design.budget="}),
        ("credit +exper", {"+experiment="}),
    ],
)
def test_the_shell_completes(typed, completions, run_credit, tmp_path):
    completed = run_credit("-sc", "query=bash", cwd=tmp_path, env={"COMP_LINE": typed})
    assert set(completed.stdout.split()) == completions


def test_completion_can_be_installed(run_credit, tmp_path):
    script = run_credit("-sc", "install=bash", cwd=tmp_path)
    assert script.returncode == 0
    assert "complete" in script.stdout


# ------------------------------------------------------------------------------ sweeps


def test_jobs_of_a_sweep_are_named_by_what_they_vary():
    overrides = ["estimator=exact", "+experiment=digits_exact", "paths.outputs=/tmp/o", "name=mine"]
    assert sweep_name("mine", overrides) == "mine__estimator=exact__experiment=digits_exact"
    one, other = (sweep_name("mine", [f"game.path={path}"]) for path in ("a/b.csv", "a_b.csv"))
    assert re.fullmatch(r"mine__game\.path=a_b\.csv-[0-9a-f]{8}", one)
    assert other == "mine__game.path=a_b.csv"
    long = sweep_name("mine", ["name=x", "game.path=" + 60 * "\u732b"])
    assert len(long.encode()) < 200


def test_long_names_of_a_sweep_are_cut_and_stay_apart():
    many = [f"model.training.steps_{i}=1000" for i in range(20)]
    one, other = (sweep_name("mine", [*many, f"seed={seed}"]) for seed in (1, 2))
    assert one != other
    assert max(len(one), len(other)) < 200
    assert one == sweep_name("mine", [*many, "seed=1"])


def test_a_sweep_may_be_asked_for_anywhere():
    words = ["+experiment=recorded", "-m", "seed=0,1", "--config-dir", "mine"]
    flags = ["-m", "--config-dir", "mine"]
    assert flags_first(words) == [*flags, "seed=0,1", "+experiment=recorded"]
    assert flags_first(words[2:]) == ["--config-dir", "mine", "seed=0,1"]
    assert flags_first(["name=x", "--cfg", "job", "seed=1"]) == ["--cfg", "job", "name=x", "seed=1"]
    assert flags_first(["a=1", "--config-dir=mine", "b=2"]) == ["--config-dir=mine", "a=1", "b=2"]
    assert flags_first(["a=1", "-cd", "x=y"]) == ["-cd", "x=y", "a=1"]
    assert flags_first(["a=1", "--info", "b=2"]) == ["--info", "a=1", "b=2"]
    assert flags_first(["a=1", "--info", "plugins"]) == ["--info", "plugins", "a=1"]


def test_what_a_sweep_varies_leads_the_names_of_its_folders():
    same = [f"model.unet.setting_number_{number}=1" for number in range(9)]
    words = flags_first([*same, "estimator=exact,paper", "-m", "names=[a,b]", "seed=range(2)"])
    assert words[:3] == ["-m", "estimator=exact,paper", "seed=range(2)"]
    assert words[3:] == [*same, "names=[a,b]"]
    jobs = [["estimator=exact", f"seed={seed}", *same] for seed in (0, 1)]
    assert all("estimator=exact__seed=" in sweep_name("mine", job) for job in jobs)


@pytest.mark.parametrize(
    "word",
    [
        *("name=2024_05", "paths.outputs=1e3", "game.path=1_0", "game.properties=[fid,1.50]"),
        *("game.lower_is_better=[fid,true]", "+axioms.duplicates=[[ann,1e3]]"),
    ],
)
def test_numbers_and_truths_in_the_place_of_text_are_told_as_they_are_read(word):
    key = word.lstrip("+").partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}: .* is read as "):
        refuse_rewritten([word])
    quoted = re.sub(r"[\w.]+(?=$|[,\]])", r'"\g<0>"', word.partition("=")[2])
    refuse_rewritten([f"{word.partition('=')[0]}={quoted}"])


def test_numbers_that_come_out_as_written_or_are_no_text_are_taken():
    refuse_rewritten(["name=17", "game.properties=[fid,1.5]", "seed=1e3", "game.rows=1e3", "x=yes"])


# ------------------------------------------------------------------------------ the terminal


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_streams_that_the_shell_closed_end_nothing_and_leave_no_file_in_their_place(
    tmp_path, closed
):
    code = (
        "import sys; from crediting import ending; ending.never_mind_the_reader()\n"
        "print(1); print(2, file=sys.stderr); sys.stderr.isatty()\n"
        f"kept = open({str(tmp_path / 'kept')!r}, 'w'); print(kept.fileno(), file=kept)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(f"{sys.executable} {script} {closed}", shell=True, timeout=60)
    assert done.returncode == 0
    assert int((tmp_path / "kept").read_text()) > 2


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_names_that_a_terminal_lacks_are_spelt_out(encoding):
    code = "from crediting import ending; ending.never_mind_the_reader(); print('\\u732b')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"\\u732b\n"


def test_who_stops_reading_ends_nothing(tmp_path):
    code = (
        "from crediting import ending; ending.never_mind_the_reader()\n"
        "for line in range(20000): print(line)\n"
        f"open({str(tmp_path / 'done')!r}, 'w').close()"
    )
    command = f"{sys.executable} -c '{code.replace(chr(39), chr(34))}' | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert (tmp_path / "done").exists()


def test_a_terminal_that_was_closed_ends_nothing(tmp_path):
    """As after `credit & disown` and logging out."""
    code = (
        "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from crediting import ending; ending.never_mind_the_reader()\n"
        "from crediting.progress import bar, say\n"
        "print('begins', flush=True); sys.stdin.readline()\n"
        "with bar('evaluate', 2) as progress: progress.update()\n"
        "say('said'); print('told', file=sys.stderr, flush=True)\n"
        "for line in range(20000): print(line)\n"
        f"open({str(tmp_path / 'done')!r}, 'w').close()"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    assert os.read(ours, 6) == b"begins"
    os.close(ours)
    process.communicate(b"go on\n", timeout=30)
    assert process.returncode == 0
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("ctrl_c", ["default_int_handler", "SIG_IGN"])
def test_terminated_it_ends_as_interrupted(ctrl_c, tmp_path):
    """Ctrl-C may be ignored, as by jobs of a shell's background."""
    program = f"""
import signal
from crediting import cli
signal.signal(signal.SIGINT, signal.{ctrl_c})
cli._run = lambda: signal.raise_signal(signal.SIGTERM)
cli.main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 130
    assert ended.stderr == "\nInterrupted. Run the same command again to continue.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_that_the_disk_has_no_room_for_is_told():
    code = "from crediting import ending; ending.never_mind_the_reader(); print('x', flush=True)"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
