"""Methods by the name that ``method`` has in an experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from workers.methods.core import Method, MethodSetup
from workers.methods.csro import CsroMethod
from workers.methods.pibr import PibrMethod

_METHODS: Mapping[str, Callable[[MethodSetup], Method]] = {"csro": CsroMethod, "pibr": PibrMethod}


def make_method(setup: MethodSetup) -> Method:
    """The method that the experiment names; its settings have been checked."""
    return _METHODS[setup.experiment.method](setup)
