"""Runs `credit` again and again, in a process of its own each time, forked when all is imported.

Started as a program by `Forks`; it reads a command per line as JSON and answers with its exit code.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PRELOADED = (
    "crediting.pipeline.stages",
    "crediting.models",
    "crediting.datasets",
    "crediting.partitions",
    "crediting.pruning",
    "crediting.finetuning",
    "crediting.generation",
    "crediting.extractors",
    "crediting.properties",
    "crediting.design",
    "crediting.estimators",
    "crediting.executors",
    "diffusers.models",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.autoencoders.vq_model",
    "diffusers.models.unets.unet_2d",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.schedulers.scheduling_ddim",
    "diffusers.schedulers.scheduling_ddpm",
    "diffusers.schedulers.scheduling_dpmsolver_multistep",
    "diffusers.schedulers.scheduling_pndm",
    "diffusers.training_utils",
    "scipy.cluster.hierarchy",
    "transformers.models.blip.modeling_blip",
    "transformers.models.clip.modeling_clip",
    "torchvision.models",
    "torchvision.datasets",
    "sklearn.datasets",
)

_LONGEST = 600  # seconds, after which a command counts as hung and is ended


def the_only_message(finished: "subprocess.CompletedProcess[str]") -> str:
    """Return what a command said in the end, checked to be one message of a user error."""
    said = finished.stderr
    assert finished.returncode == 2, said
    assert "Traceback" not in said
    starts = [number for number, line in enumerate(said.splitlines()) if line[:8] == "credit: "]
    assert len(starts) == 1, said
    return "\n".join(said.splitlines()[starts[0] :])


def nothing_was_trained(folder: Path) -> bool:
    """Return whether the store below a folder of outputs holds no model, finished or begun."""
    return not [*folder.glob("store/model-*")]


class Forks:
    """Use as a context: `forks(*words, cwd=folder)` is what the fixture `run_credit` returns.

    Imports take seconds, of which a test of a single message needs next to nothing otherwise.
    What is read of the environment while importing is as it was when this was made, but for
    PYTHONPATH. Nothing waits for the disk. With `bytes_per_file` no file can grow beyond so many,
    as on a full disk; unless `drawn`, files of figures hold a word only; with `small_inception`
    that network sees images of few pixels.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "OMP_NUM_THREADS": "1", **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(timeout=60)

    def __call__(
        self,
        *args: object,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        bytes_per_file: int | None = None,
        drawn: bool = True,
        small_inception: bool = False,
    ) -> "subprocess.CompletedProcess[str]":
        words = [word for arg in args for word in ([arg] if isinstance(arg, str) else arg)]
        asked = words, str(cwd), env or {}, bytes_per_file, drawn, small_inception
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        code, said, printed = json.loads(self._server.stdout.readline())
        return subprocess.CompletedProcess(words, code, printed, said)


def _serve() -> None:
    import gc
    import importlib
    import tempfile

    for name in PRELOADED:
        importlib.import_module(name)
    import composing
    from omegaconf import OmegaConf
    from small_inception import look_at_less
    from undurable import spare_the_disk

    spare_the_disk(setattr)
    OmegaConf.load = composing.read_once
    composing.composed()
    gc.freeze()  # what all children share is not to be looked through by each
    for line in sys.stdin:
        words, folder, env, bytes_per_file, drawn, small_inception = json.loads(line)
        with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
            child = os.fork()
            if child == 0:
                os.environ.update(env)
                sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
                if not drawn:
                    _draw_nothing()
                if small_inception:
                    look_at_less(setattr)
                if bytes_per_file is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file, bytes_per_file))
                _become_credit(words, folder, printed.fileno(), said.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            printed.seek(0)
            said.seek(0)
            print(json.dumps([code, said.read(), printed.read()]), flush=True)


def _draw_nothing() -> None:
    from matplotlib.figure import Figure

    Figure.savefig = lambda self, path, **_: Path(path).write_text("drawn")


def _become_credit(words: list[str], folder: str, stdout: int, stderr: int) -> None:
    from crediting.cli import main

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.chdir(folder)
    signal.alarm(_LONGEST)
    sys.argv = ["credit", *words]
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    _serve()
