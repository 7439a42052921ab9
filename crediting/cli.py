"""The one entry point, `credit`: compose the config, assemble the study, run its stages."""

import os
import sys
import traceback

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from crediting import config
from crediting.errors import CreditingError, as_user_error

_composed = False
"""Whether Hydra has composed a config: if not, its error is about what the user typed."""


def main() -> None:
    """Run `credit`.

    Exit codes: 0 done, 1 a bug of ours (with traceback), 2 something the user can mend (with one
    message), 130 interrupted.
    """
    config.register()
    try:
        _run()
    except SystemExit as stop:
        if stop.code == 1 and not _composed:
            raise SystemExit(2) from None
        raise


@hydra.main(version_base="1.3", config_path=str(config.CONFIG_DIR), config_name="config")
def _run(composed: DictConfig) -> None:
    global _composed
    _composed = True
    try:
        _run_study(composed)
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to continue.", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        user_error = as_user_error(error)
        if user_error is None or os.environ.get("HYDRA_FULL_ERROR"):
            traceback.print_exc()
            raise SystemExit(1 if user_error is None else 2) from None
        print(f"credit: {user_error}", file=sys.stderr)
        raise SystemExit(2) from None


def _run_study(composed: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    sources = [s.path for s in hydra_config.runtime.config_sources if s.schema == "file"]
    config.refuse_shadowed_options(sources)
    plain = config.resolve(composed)
    if hydra_config.mode is RunMode.MULTIRUN:
        plain["name"] = _sweep_name(plain["name"], list(hydra_config.overrides.task))
    parts = config.build(plain)

    from crediting.pipeline import stages
    from crediting.pipeline.study import Study

    study = Study.assemble(plain, parts)
    if plain["dry_run"]:
        stages.dry_run(study)
    else:
        stages.run(study, plain["stage"])


def _sweep_name(name: str, overrides: list[str]) -> str:
    """Give each job of a sweep a folder of its own, named by what the sweep varies."""
    varied = [o.lstrip("+") for o in overrides if not o.lstrip("+").startswith("paths.")]
    if any("/" in override for override in varied):
        raise CreditingError(
            f"cannot name a sweep's study after {varied}: give name=<name> instead"
        )
    return "__".join([name, *varied])
