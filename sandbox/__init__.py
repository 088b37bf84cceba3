"""Runs untrusted programs. :mod:`sandbox.referee` is the way in; this package imports nothing of itself."""
