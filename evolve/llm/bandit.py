"""Several models, of which those that improve programs for less money are asked more: Thompson sampling per cost.

A trial is one answer; it succeeds if its child beats the parent. Each arm's rate of success is drawn from its Beta
posterior and divided by what an answer of the arm costs on average, to a power (budgeted Thompson sampling, Xia et al.
2015). The past fades, for improvements become rarer as a search goes on. All of it is in the store, and so is which
model a prompt was given to: a resumed run goes on with what was learnt, and asks no prompt of two models.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from evolve.llm.core import LLM, Completion, Prompt
from evolve.llm.ensemble import EnsembleLLM
from evolve.llm.outage import is_down

FADING = 0.998
"""Factor on all that is known at each new outcome: some five hundred outcomes are remembered."""


@dataclass(frozen=True)
class Arm:
    """What is known of one model, recent outcomes counting more. ``cost``: of all trials, in one unit for all arms."""

    trials: float = 0.0
    successes: float = 0.0
    cost: float = 0.0


class Arms(Protocol):
    """The memory of a bandit, shared by all processes of a run. Atomic."""

    def choose(self, prompt_key: str, model: str, among: Collection[str]) -> str:
        """Gives a prompt to ``model`` unless it was given before to one that is still ``among`` those that can be
        asked; returns the one it belongs to."""
        ...

    def reward(self, request: str, model: str, success: float, cost: float) -> None:
        """Books an outcome, once per ``request``."""
        ...

    def known(self) -> Mapping[str, Arm]:
        """Arms with outcomes, by model."""
        ...


class MemoryArms:
    """The memory of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chosen: dict[str, str] = {}
        self._booked: set[str] = set()
        self._arms: dict[str, Arm] = {}

    def choose(self, prompt_key: str, model: str, among: Collection[str]) -> str:
        with self._lock:
            if self._chosen.get(prompt_key) not in among:
                self._chosen[prompt_key] = model
            return self._chosen[prompt_key]

    def reward(self, request: str, model: str, success: float, cost: float) -> None:
        with self._lock:
            if request in self._booked:
                return
            self._booked.add(request)
            faded = {m: Arm(a.trials * FADING, a.successes * FADING, a.cost * FADING) for m, a in self._arms.items()}
            arm = faded.get(model, Arm())
            self._arms = {**faded, model: Arm(arm.trials + 1, arm.successes + success, arm.cost + cost)}

    def known(self) -> Mapping[str, Arm]:
        with self._lock:
            return dict(self._arms)


@runtime_checkable
class LearningLLM(Protocol):
    """An LLM that wants to know what became of its answers."""

    def learn(self, request: str, answer: Completion, success: float) -> None: ...


class BanditLLM(EnsembleLLM):
    """An ensemble whose weights multiply what the bandit finds.

    ``cost_exponent`` 0 looks at success alone, 1 at success per cost. Cost is money where every member has a price,
    else tokens. A member that is down is passed over while another is not."""

    def __init__(
        self, members: Sequence[tuple[LLM, float]], arms: Arms, *, cost_exponent: float, priced: bool
    ) -> None:
        super().__init__(members)
        self._by_name = {llm.model: (llm, weight) for llm, weight in members}
        if len(self._by_name) < len(members):
            raise ValueError("a bandit needs different models: the list names one twice")
        self._arms = arms
        self._cost_exponent = cost_exponent
        self._priced = priced

    def choose(self, prompt: Prompt) -> LLM:
        key = prompt.key("bandit")
        return self._by_name[self._arms.choose(key, self._draw(key), self._by_name)][0]

    def _draw(self, key: str) -> str:
        known = self._arms.known()
        rng = np.random.default_rng(int(key[:16], 16))
        costs = {model: arm.cost / arm.trials for model, arm in known.items() if arm.trials > 0 and arm.cost > 0}
        usual = float(np.mean(list(costs.values()))) if costs else 1.0  # of an arm that has not been tried
        drawn = {}
        for model, (llm, weight) in self._by_name.items():
            arm = known.get(model, Arm())
            rate = rng.beta(1 + arm.successes, 1 + max(0.0, arm.trials - arm.successes))
            drawn[model] = (not is_down(llm), weight * rate / costs.get(model, usual) ** self._cost_exponent)
        return max(drawn, key=lambda model: drawn[model])

    def learn(self, request: str, answer: Completion, success: float) -> None:
        cost = (answer.usd or 0.0) if self._priced else float(answer.tokens_in + answer.tokens_out)
        self._arms.reward(request, answer.model, success, cost)
