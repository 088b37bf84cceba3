"""Presets (``experiments/``) and what a cluster needs. Data, no code."""
