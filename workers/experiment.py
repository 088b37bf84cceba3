"""The experiment as records: one class per table of the file, one field per key, with its default."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import tomli_w

from evolve.archive.core import ArchiveSettings
from evolve.llm.budget import Budget
from evolve.llm.pacing import Pacer
from evolve.llm.providers import ProviderSettings, WeightedModel
from evolve.oracles.archive_search import Effort
from evolve.oracles.cascade import CascadeSettings
from evolve.oracles.registry import archive_shape
from evolve.pibr_starts import Initial
from evolve.pibr_state import Order
from evolve.prompting import PromptSettings, prompt_variants
from sandbox.limits import Limits


@dataclass(frozen=True)
class GameSettings:
    """``name`` and the game's own parameters (every other key of ``[game]``)."""

    name: str = "repeated_rps"
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class PsroSettings:
    """``payoff_matches`` is the number of matches behind each entry of the empirical game; with ``strict_payoffs``
    each of them is played in processes of its own, for three to four times the time. Up to ``top_up_matches`` further
    matches per best response go to the entries whose noise could change the meta-strategy.
    """

    iterations: int = 4
    meta_solver: str = "nash"
    payoff_matches: int = 8
    strict_payoffs: bool = False
    top_up_matches: int = 0


@dataclass(frozen=True)
class PibrSettings:
    """Method ``pibr``: ``iterations`` outer loops (K) for each of ``starts``; see :class:`evolve.pibr_state.PibrConfig`
    for ``order`` and ``initial``. T is ``oracle.steps`` of the textual gradient. ``welfare_matches`` evaluate the
    social welfare of each profile; that of the returned one is evaluated again on ``evaluation.matches`` fresh seeds.
    """

    iterations: int = 4
    starts: int = 1
    order: Order = "alternating"
    initial: Initial = "seed"
    welfare_matches: int = 32


@dataclass(frozen=True)
class OracleSettings:
    """``kind`` is an oracle's name (see ``evolve.oracles.registry``); how many proposals it makes is in ``samples``
    (best_of_n), ``refinements`` (linear_refinement), ``steps`` (textual_gradient), ``checkpoints`` (reinforcement, of
    ``training_steps`` moves in all) or ``archive.proposals`` (alpha_evolve). ``variable``, ``returns``,
    ``gradient_memory`` and ``constraints`` are the textual gradient's: see
    :class:`evolve.oracles.archive_search.Effort`.

    ``matches`` per opponent in the search, ``fresh_matches`` in each re-scoring before promotion. ``audit_share`` of
    the children are audited in the search by a replay of their matches; every program is before its promotion.
    ``carry_over`` programs of the earlier searches, the best against the new mixture by the payoffs that are known,
    found each search beside the incumbents; 0 starts each anew.

    ``edit_share``, ``crossover_share`` and ``fix_share`` of alpha_evolve's proposals are edits, crossovers of two
    parents and repairs of failed programs; the rest are full rewrites. ``prompt_variants`` puts the task in several
    ways, those likelier whose children do better than their parents. ``feedback`` as in
    :class:`evolve.prompting.PromptSettings`. ``racing`` (with ``racing_confidence``) and ``novelty`` end alpha_evolve's
    evaluations early, or spare them: see :class:`evolve.oracles.cascade.CascadeSettings`.
    """

    kind: str = "alpha_evolve"
    samples: int = Effort.samples
    refinements: int = Effort.refinements
    steps: int = Effort.steps
    variable: Literal["code", "prompt"] = Effort.variable
    returns: Literal["last", "best"] = Effort.returns
    gradient_memory: int = Effort.gradient_memory
    constraints: str = Effort.constraints
    training_steps: int = Effort.training_steps
    checkpoints: int = Effort.checkpoints
    matches: int = 4
    fresh_matches: int = 16
    audit_share: float = 0.05
    carry_over: int = 0
    opponent_input: Literal["code", "description", "both", "none"] = "code"
    opponent_filter: Literal["none", "top_k", "min_support"] = "top_k"
    top_k: int = 5
    min_support: float = 0.05
    opponent_chars: int = 48_000
    edit_share: float = 0.4
    crossover_share: float = 0.1
    fix_share: float = 0.1
    prompt_variants: bool = True
    feedback: bool = True
    racing: bool = True
    racing_confidence: float = CascadeSettings.confidence
    novelty: bool = True
    probe_matches: int = CascadeSettings.probe_matches


@dataclass(frozen=True)
class ArchiveKeys:
    """``[archive]``: see :class:`evolve.archive.core.ArchiveSettings`; the return scale comes from the game."""

    num_islands: int = ArchiveSettings.num_islands
    proposals: int = ArchiveSettings.proposals
    temperature: float = ArchiveSettings.temperature
    temperature_period: int = ArchiveSettings.temperature_period
    length_temperature: float = ArchiveSettings.length_temperature
    selection: Literal["clusters", "map_elites"] = ArchiveSettings.selection
    num_inspirations: int = ArchiveSettings.num_inspirations
    specialist_share: float = 0.1
    migration: Literal["ring", "random"] = ArchiveSettings.migration
    migration_interval: int = ArchiveSettings.migration_interval
    migrants: int = ArchiveSettings.migrants
    reset_interval: int = ArchiveSettings.reset_interval
    stagnation_limit: int = 25
    stagnation_action: Literal["explore", "reseed"] = ArchiveSettings.stagnation_action
    rescore_interval: int = 10
    notes_interval: int = ArchiveSettings.notes_interval
    lease_s: float = ArchiveSettings.lease_s


@dataclass(frozen=True)
class LLMSettings:
    """``model`` is ``provider:model`` or ``offline``, or a list of tables ``{model, weight}`` that share the prompts;
    ``in_flight`` is the number of calls under way at a time, ``backlog`` how many more proposals may get ready for
    theirs or, answered already, wait for their scores before no more is asked (absent: as many as ``in_flight``).

    ``selection`` among several models is by their weights, or by a bandit that multiplies the weights by how often a
    model's children beat their parents, per cost to the power ``cost_exponent``. ``requests_per_minute`` and
    ``tokens_per_minute`` bound each model, over all processes. ``patience_s`` is how long the run waits for a provider
    that is down. The last four: see :class:`evolve.llm.providers.ProviderSettings`.
    """

    model: str | tuple[WeightedModel, ...] = "offline"
    temperature: float = 1.0
    max_output_tokens: int = 8192
    in_flight: int = 8
    backlog: int | None = None
    selection: Literal["weights", "bandit"] = "weights"
    cost_exponent: float = 1.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    patience_s: float = 3600.0
    timeout_s: float = ProviderSettings.timeout_s
    max_attempts: int = ProviderSettings.max_attempts
    backoff_s: float = ProviderSettings.backoff_s
    openai_api: Literal["chat", "responses"] = ProviderSettings.openai_api

    def provider(self, pacer: Pacer | None = None) -> ProviderSettings:
        return ProviderSettings(self.timeout_s, self.max_attempts, self.backoff_s, self.openai_api, pacer)

    def queue(self) -> int:
        """``backlog``, resolved."""
        return self.in_flight if self.backlog is None else self.backlog


@dataclass(frozen=True)
class EvaluationSettings:
    """``matches`` per member of the reference population, for each policy of the final mixture."""

    matches: int = 100


@dataclass(frozen=True)
class WorkerSettings:
    """``scorers`` is the number of scoring processes; 0 means one per processor (on a shared cluster, per free one).

    ``board`` serves the live board on this machine while the run lasts; ``dashboard`` has a Ray of the run's own start
    Ray's dashboard too, with the board under Metrics."""

    scorers: int = 0
    evolvers: int = 1
    board: bool = False
    dashboard: bool = False


FEATURES: Mapping[str, Sequence[str]] = {
    "oracle": [
        "edit_share", "crossover_share", "fix_share", "prompt_variants", "feedback", "racing", "novelty",
        "audit_share", "carry_over",
    ],
    "archive": [
        "num_islands", "selection", "temperature_period", "length_temperature", "num_inspirations",
        "specialist_share", "migration", "migration_interval", "reset_interval", "stagnation_limit",
        "stagnation_action", "rescore_interval", "notes_interval",
    ],
    "llm": [
        "selection", "in_flight", "backlog", "requests_per_minute", "tokens_per_minute", "patience_s",
    ],
}
"""Keys that turn a part of the search on or off, by table; the run's summary tells their values."""


OF_ISLANDS = frozenset({"edit_share", "crossover_share", "fix_share", "prompt_variants", "racing", "novelty"})
"""Features of ``[oracle]`` that a search without islands has not, nor any of ``[archive]``."""


@dataclass(frozen=True)
class Experiment:
    """One run, as data. ``sandbox`` starts from the game's own limits."""

    run_id: str = ""
    method: Literal["csro", "pibr"] = "csro"
    execution: Literal["ray", "local"] = "ray"
    seed: int = 0
    game: GameSettings = GameSettings()
    psro: PsroSettings = PsroSettings()
    pibr: PibrSettings = PibrSettings()
    oracle: OracleSettings = OracleSettings()
    archive: ArchiveKeys = ArchiveKeys()
    llm: LLMSettings = LLMSettings()
    budget: Budget = field(default_factory=Budget)
    evaluation: EvaluationSettings = EvaluationSettings()
    sandbox: Limits = field(default_factory=Limits)
    workers: WorkerSettings = WorkerSettings()

    def prompts(self) -> PromptSettings:
        return PromptSettings(
            opponent_input=self.oracle.opponent_input,
            opponent_filter=self.oracle.opponent_filter,
            top_k=self.oracle.top_k,
            min_support=self.oracle.min_support,
            opponent_chars=self.oracle.opponent_chars,
            feedback=self.oracle.feedback,
            temperature=self.llm.temperature,
            max_output_tokens=self.llm.max_output_tokens,
            limits=self.sandbox,
        )

    def cascade(self) -> CascadeSettings:
        return CascadeSettings(
            self.oracle.racing, self.oracle.novelty, self.oracle.racing_confidence, self.oracle.probe_matches
        )

    def archive_settings(self, return_range: tuple[float, float]) -> ArchiveSettings:
        """Of the run's archives, as its oracle shapes them."""
        low, high = return_range
        settings = ArchiveSettings(
            **dataclasses.asdict(self.archive),
            return_scale=high - low,
            edit_share=self.oracle.edit_share,
            crossover_share=self.oracle.crossover_share,
            fix_share=self.oracle.fix_share,
            variants=prompt_variants() if self.oracle.prompt_variants else (),
        )
        return archive_shape(self.oracle.kind, settings, self.effort())

    def features(self) -> dict[str, object]:
        """The values of :data:`FEATURES` by ``table.key``; those of islands only where the oracle has islands."""
        named = ((table, key) for table, keys in FEATURES.items() for key in keys)
        return {
            f"{table}.{key}": getattr(getattr(self, table), key)
            for table, key in named
            if self.oracle.kind == "alpha_evolve" or (table != "archive" and key not in OF_ISLANDS)
        }

    def effort(self) -> Effort:
        """How far its oracle searches, and how."""
        return Effort(**{field.name: getattr(self.oracle, field.name) for field in dataclasses.fields(Effort)})

    def to_toml(self) -> str:
        """The resolved experiment: every key with its value, in the form that :func:`load_experiment` reads."""
        tables = dataclasses.asdict(self)
        tables["game"] = {"name": self.game.name, **self.game.parameters}
        return tomli_w.dumps(_without_none(tables))


def _without_none(tables: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no null: an absent key says the same."""
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in tables.items()
        if value is not None
    }
