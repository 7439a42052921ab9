"""Stage calibrate: which cheaper setting gives the same credits, and where utilities vary."""

from crediting.pipeline.calibrate.stage import calibrate

__all__ = ["calibrate"]
