"""The door to Hydra: words of a command line become plain values, and these the parts they mean.

Only this package and `cli` know of hydra and omegaconf. Everything beyond receives plain values.
"""

from crediting.config.building import GROUPS, alterations, build, methods
from crediting.config.folders import (
    CONFIG_DIR,
    config_dirs,
    refuse_designs_of_methods,
    refuse_shadowed_options,
    register,
)
from crediting.config.options import typed
from crediting.config.own_parts import note_own_part
from crediting.config.parsing import lazy_help
from crediting.config.resolving import explain, resolve
from crediting.config.words import (
    fetch_command,
    flags_first,
    making_command,
    of_this_experiment,
    refuse_rewritten,
    sweep_name,
)

__all__ = [
    "CONFIG_DIR",
    "GROUPS",
    "alterations",
    "build",
    "config_dirs",
    "explain",
    "fetch_command",
    "flags_first",
    "lazy_help",
    "making_command",
    "methods",
    "note_own_part",
    "of_this_experiment",
    "refuse_designs_of_methods",
    "refuse_rewritten",
    "refuse_shadowed_options",
    "register",
    "resolve",
    "sweep_name",
    "typed",
]
