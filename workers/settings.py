"""Reads an experiment file: TOML in, :mod:`workers.experiment` out. A key that nobody reads is an error."""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from evolve.meta_solvers import check_solver, meta_solver
from evolve.oracles.core import MissingExtraError
from evolve.oracles.registry import check_oracle, oracle_kinds
from evolve.pibr_starts import initial_profiles
from games.core import Game
from games.registry import make_game, near_matches
from workers.errors import UsageError
from workers.experiment import Experiment, GameSettings

T = TypeVar("T")


class SettingsError(UsageError):
    """Bad experiment: one line that says which key, what is wrong, and what would do."""


class MissingPackagesError(SettingsError):
    """Nothing is wrong with the experiment, but this machine cannot run it."""


def load_experiment(preset_or_path: str, overrides: Sequence[str] = ()) -> Experiment:
    """Reads a preset by name or a TOML file by path, then applies ``a.b=c`` overrides.

    Raises :class:`SettingsError`."""
    experiment = experiment_from(_read(preset_or_path), overrides)
    if experiment.method == "csro":
        spec = make_game(experiment.game.name, **experiment.game.parameters).spec
        try:
            check_solver(experiment.psro.meta_solver, spec.utility, spec.num_players)
        except ValueError as error:
            raise SettingsError(f"psro.meta_solver: {error}") from None
    return experiment


def experiment_from(tables: Mapping[str, object], overrides: Sequence[str] = ()) -> Experiment:
    """The experiment that nested tables describe, with overrides. Raises :class:`SettingsError`."""
    values = copy.deepcopy(dict(tables))
    for override in overrides:
        _override(values, override)
    game = _table(values, "game")
    values.pop("game", None)
    parameters = {key: value for key, value in game.items() if key != "name"}
    name = _convert(game.get("name", GameSettings.name), str, "game.name")
    try:
        made = make_game(name, **parameters)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    spec = made.spec
    values["sandbox"] = {**spec.limits, **_table(values, "sandbox")}
    experiment = _build(Experiment, values, "")
    _check_values(experiment)
    if experiment.method == "pibr":
        _check_pibr(experiment, made)
    try:
        meta_solver(experiment.psro.meta_solver)
    except ValueError as error:
        raise SettingsError(f"psro.meta_solver: {error}") from None
    kind, kinds = experiment.oracle.kind, oracle_kinds()
    if kind not in kinds:
        raise SettingsError(f"oracle.kind={kind!r}: must be an oracle's name{near_matches(kind, kinds)}")
    try:
        check_oracle(kind, made)
    except MissingExtraError as error:
        raise MissingPackagesError(f"oracle.kind={kind!r}: {error}") from None
    except ValueError as error:
        raise SettingsError(f"oracle.kind={kind!r}: {error}") from None
    return dataclasses.replace(experiment, game=GameSettings(name, parameters))


def _check_pibr(experiment: Experiment, game: Game) -> None:
    try:
        initial_profiles(game, experiment.pibr.initial, experiment.pibr.starts)
    except ValueError as error:
        raise SettingsError(f"pibr.starts={experiment.pibr.starts}: {error}") from None
    if experiment.oracle.carry_over:
        raise SettingsError(
            f"oracle.carry_over={experiment.oracle.carry_over}: method pibr carries nothing over, for a return there "
            "belongs to one profile; leave it at 0"
        )


def _table(values: Mapping[str, object], name: str) -> dict[str, Any]:
    table = values.get(name, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{name} must be a table: [{name}]")
    return table


def preset_names() -> list[str]:
    return sorted(p.name.removesuffix(".toml") for p in _presets().iterdir() if p.name.endswith(".toml"))


def _presets() -> Any:
    return resources.files("deploy") / "experiments"


def _read(preset_or_path: str) -> dict[str, Any]:
    path = Path(preset_or_path)
    if path.suffix == ".toml" or path.is_file():
        if not path.is_file():
            raise SettingsError(f"no experiment file {preset_or_path}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SettingsError(f"{preset_or_path} is not UTF-8 text: {error}") from None
    elif preset_or_path in preset_names():
        text = (_presets() / f"{preset_or_path}.toml").read_text(encoding="utf-8")
    else:
        raise SettingsError(f"no preset or file named {preset_or_path!r}{near_matches(preset_or_path, preset_names())}")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{preset_or_path} is not valid TOML: {error}") from None


def _override(tables: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"--set takes KEY=VALUE, such as psro.iterations=2; got {override!r}")
    *path, last = key.strip().split(".")
    table = tables
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise SettingsError(f"{key.strip()}: {part} is not a table")
    try:
        table[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = text.strip()  # a bare word is a string


def _build(kind: type[T], values: Mapping[str, object], path: str) -> T:
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    built: dict[str, Any] = {}
    for key, value in values.items():
        full = f"{path}{key}"
        if key not in known:
            raise SettingsError(f"unknown key {full}{near_matches(key, known)}")
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(value, dict):
                raise SettingsError(f"{full} must be a table")
            built[key] = _build(typing.cast(type, hints[key]), value, f"{full}.")
        else:
            built[key] = _convert(value, hints[key], full)
    return kind(**built)


def _convert(value: object, hint: Any, key: str) -> Any:
    """``value`` as the type ``hint``, where TOML's own types leave no doubt; else :class:`SettingsError`."""
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise SettingsError(f"{key}={value!r}: must be {' or '.join(map(str, choices))}")
        return value
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, list):
            return tuple(_element(entry, typing.get_args(option)[0], f"{key}[{i}]") for i, entry in enumerate(value))
        if option is float and type(value) is int:
            return float(value)
        if option is not type(None) and type(value) is option:
            _check_number(value, key)
            return value
    names = " or ".join(_type_name(option) for option in options)
    raise SettingsError(f"{key}={value!r}: must be of type {names}")


_MINIMUMS = {
    "psro.iterations": 1,
    "psro.payoff_matches": 2,  # one match says nothing of the spread, and no figure goes without its error
    "pibr.iterations": 1,
    "pibr.starts": 1,
    "pibr.welfare_matches": 2,
    "oracle.steps": 1,
    "oracle.matches": 2,
    "oracle.fresh_matches": 2,
    "oracle.samples": 1,
    "oracle.training_steps": 1,
    "oracle.checkpoints": 1,
    "oracle.top_k": 1,
    "oracle.probe_matches": 2,
    "archive.num_islands": 1,
    "archive.proposals": 1,
    "archive.lease_s": 1,
    "llm.in_flight": 1,
    "llm.max_attempts": 1,
    "llm.max_output_tokens": 1,
    "evaluation.matches": 2,
    "workers.evolvers": 1,
    "sandbox.source_bytes": 1,
}
_DAY_S, _PEBIBYTE = 86_400, 1 << 50
_MAXIMUMS = {  # beyond what the kernel's clocks and limits can be told
    "sandbox.load_timeout_s": _DAY_S,
    "sandbox.move_timeout_s": _DAY_S,
    "sandbox.kill_grace_s": _DAY_S,
    "sandbox.cpu_s": _DAY_S,
    "sandbox.simulation_cpu_s": _DAY_S,
    "sandbox.memory_bytes": _PEBIBYTE,
    "sandbox.simulation_memory_bytes": _PEBIBYTE,
    "sandbox.output_bytes": _PEBIBYTE,
    "sandbox.source_bytes": 1 << 28,
}
_SHARES = ("oracle.audit_share", "oracle.min_support", "archive.specialist_share")
_OPERATOR_SHARES = ("oracle.edit_share", "oracle.crossover_share", "oracle.fix_share")
_POSITIVE = (
    "archive.temperature",
    "llm.timeout_s",
    "llm.requests_per_minute",
    "llm.tokens_per_minute",
    "sandbox.load_timeout_s",
    "sandbox.move_timeout_s",
    "sandbox.cpu_s",
    "sandbox.memory_bytes",
    "sandbox.simulation_cpu_s",
    "sandbox.simulation_memory_bytes",
)


def _check_values(experiment: Experiment) -> None:
    _check_ranges(experiment)
    if not 0.5 <= experiment.oracle.racing_confidence < 1:
        confidence = experiment.oracle.racing_confidence
        raise SettingsError(f"oracle.racing_confidence={confidence}: must be at least 0.5 and below 1")
    if sum(_value(experiment, key) for key in _OPERATOR_SHARES) > 1 + 1e-9:
        raise SettingsError(f"{' + '.join(_OPERATOR_SHARES)}: they are shares of one whole, and must not exceed 1")
    if experiment.run_id and not re.fullmatch(r"[A-Za-z0-9._-]+", experiment.run_id):
        raise SettingsError(f"run_id={experiment.run_id!r}: letters, digits, dots, dashes and underscores only")
    if not experiment.llm.model:
        raise SettingsError("llm.model is empty: name a model, or a list of them")
    if experiment.llm.selection == "bandit" and (isinstance(experiment.llm.model, str) or len(_names(experiment)) < 2):
        raise SettingsError("llm.selection='bandit' chooses among models: make llm.model a list of different ones")


def _check_ranges(experiment: Experiment) -> None:
    """Each number by itself."""
    for key, least in _MINIMUMS.items():
        if _value(experiment, key) < least:
            raise SettingsError(f"{key}={_value(experiment, key)}: must be at least {least}")
    _check_maximums(experiment)
    for key in _SHARES:
        if _value(experiment, key) > 1:
            raise SettingsError(f"{key}={_value(experiment, key)}: must lie between 0 and 1")
    for key in _POSITIVE:
        if not _value(experiment, key, 1.0) > 0:
            raise SettingsError(f"{key}={_value(experiment, key)}: must be positive")


def _check_maximums(experiment: Experiment) -> None:
    for key, most in _MAXIMUMS.items():
        if _value(experiment, key) > most:
            raise SettingsError(f"{key}={_value(experiment, key):g}: must be at most {most}")


def _names(experiment: Experiment) -> set[str]:
    model = experiment.llm.model
    return {model} if isinstance(model, str) else {member.model for member in model}


def _value(experiment: Experiment, key: str, absent: float = 0.0) -> float:
    table, name = key.split(".")
    value = getattr(getattr(experiment, table), name)
    return absent if value is None else float(value)


def _element(entry: object, kind: type[T], key: str) -> T:
    if not isinstance(entry, dict):
        raise SettingsError(f"{key}={entry!r}: must be a table")
    return _build(kind, entry, f"{key}.")


def _type_name(option: Any) -> str:
    if option is type(None):
        return "none"
    return "list of tables" if typing.get_origin(option) is tuple else str(option.__name__)


def _check_number(value: object, key: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not value >= 0:
        raise SettingsError(f"{key}={value!r}: must not be negative")
    if value == math.inf:
        raise SettingsError(f"{key}=inf: must be finite; leave the key out where no limit is meant")
