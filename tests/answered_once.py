"""What the studies of many tests ask alike is worked out once: credits, and if a model is fit.

Either answer follows from what is asked alone, which tests of estimators and of pruning check.
"""

import copy
import pickle
from collections.abc import Callable
from typing import Any

from torch import nn

from crediting.estimators import Bayesian
from crediting.game.attribution import Attribution
from crediting.game.game import EvaluatedSample
from crediting.pruning import structured

_estimate, _check = Bayesian.__call__, structured.check_channels
_credits: dict[bytes, Attribution] = {}
_fit: set[bytes] = set()


def answer_once(setattr: Callable[[object, str, object], None]) -> None:
    """Replace what is asked again and again, by `setattr` or what undoes it in the end."""
    setattr(Bayesian, "__call__", _estimated)
    setattr(structured, "check_channels", _checked)


def _estimated(self: Bayesian, sample: EvaluatedSample) -> Attribution:
    asked = pickle.dumps((self, sample))
    if asked not in _credits:
        _credits[asked] = _estimate(self, sample)
    return copy.deepcopy(_credits[asked])


def _checked(denoiser: nn.Module, model: Any, ratio: float) -> None:
    """Check unless a denoiser of that structure was found fit; a refusal is never remembered."""
    shapes = [(name, weights.shape) for name, weights in denoiser.state_dict().items()]
    structure = type(denoiser), dict(getattr(denoiser, "config", {})), shapes
    asked = pickle.dumps((type(model), structure, ratio))
    if asked not in _fit:
        _check(denoiser, model, ratio)
        _fit.add(asked)
