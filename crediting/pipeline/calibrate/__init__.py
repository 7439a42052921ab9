"""Stage calibrate: which cheaper setting gives the same credits, and where utilities vary."""
