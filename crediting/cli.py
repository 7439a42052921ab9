"""The one entry point, `credit`: compose the config, assemble the study, run its stages."""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from crediting import config, ending
from crediting.errors import ANY_FAILURE, ConfigError, as_user_error


def main() -> None:
    """Run `credit`.

    Exit codes: 0 done, 1 a bug of ours (with traceback), 2 something the user can mend (with one
    message, and with a traceback only if HYDRA_FULL_ERROR=1), 130 interrupted.
    """
    config.register()
    ending.never_mind_the_reader()
    ending.heed_termination()
    try:
        with ending.hydra_raises(), config.lazy_help():
            sys.argv[1:] = config.of_this_experiment(config.flags_first(sys.argv[1:]))
            _run()
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to continue.", file=sys.stderr)
        raise SystemExit(130) from None
    except ending.JobFailed as failed:
        raise ending.end(failed) from None
    except Exception as error:  # from Hydra, about the command line or a config file
        mendable = as_user_error(error) or ConfigError(config.explain(error))
        raise ending.end(ending.failure(mendable)) from None


@hydra.main(version_base="1.3", config_path=str(config.CONFIG_DIR), config_name="config")
def _run(composed: DictConfig) -> None:
    config.register()  # once more, for a launcher may have started this process
    context = HydraConfig.get()
    parallel = (
        context.mode is RunMode.MULTIRUN and "basic_launcher" not in context.launcher._target_
    )
    if parallel:
        from crediting.progress import share_terminal

        ending.end_with_the_starter()
        share_terminal(f"[{context.job.num}] ")
    try:
        _run_study(composed)
    except ANY_FAILURE as error:
        config.note_own_part(error, composed)
        failed = ending.failure(as_user_error(error))
        if parallel:
            print(failed.text, end="", file=sys.stderr)
            raise failed from None  # whoever started the sweep says it again when all have ended
        raise ending.end(failed) from None  # Hydra would finish the sweep and tell of one alone


def _run_study(composed: DictConfig) -> None:
    context = HydraConfig.get()
    folders = [source.path for source in context.runtime.config_sources if source.schema == "file"]
    config.refuse_shadowed_options(folders)
    plain = config.resolve(composed)
    config.refuse_rewritten(context.overrides.task)
    config.refuse_designs_of_methods(context.runtime.choices, context.overrides.task, folders)
    words = sys.argv[1:]
    if context.mode is RunMode.MULTIRUN:
        words = [*config.config_dirs(folders), *context.overrides.task]
        plain["name"] = config.sweep_name(plain["name"], context.overrides.task)
        print(f"\n{plain['name']}", file=sys.stderr)
    asked_for = context.runtime.choices.get("experiment") == "recorded"
    if asked_for or plain["game"]["path"] is not None:
        from crediting.pipeline import recorded

        recorded.run(plain, config.build(plain, recorded.GROUPS), context.overrides.task)
        return
    plain = config.typed(plain)
    parts = config.build(plain)

    from crediting.pipeline import stages
    from crediting.pipeline.study import Study

    if plain["stage"] == "fetch":
        stages.fetch(parts, plain["dry_run"])
        return
    stages.require(parts, config.fetch_command(words), config.making_command(words))
    study = Study.assemble(plain, parts)
    stages.make_ready(study, plain["stage"])
    if plain["stage"] == "compare":
        stages.compare(study, config.methods(plain, parts))
    elif plain["stage"] == "calibrate":
        stages.calibrate(study, config.alterations(plain, parts))
    else:
        stages.run(study, plain["stage"])
