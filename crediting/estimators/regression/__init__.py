"""Regressions of utilities on who takes part, and what was drawn independently of what."""
