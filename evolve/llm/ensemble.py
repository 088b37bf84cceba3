"""Several models as one: each prompt belongs to one member, drawn by its weight from the prompt's own hash.

No generator and no counter is involved, so a resumed or replayed run asks the same member the same question.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol, runtime_checkable

from evolve.llm.core import LLM, Completion, Prompt
from evolve.llm.outage import is_down, stop_waiting


@runtime_checkable
class RoutingLLM(Protocol):
    """An LLM that stands for others and can say beforehand which model will answer a prompt."""

    def model_for(self, prompt: Prompt) -> str: ...


def answering_model(llm: LLM, prompt: Prompt) -> str:
    """Full name of the model that answers ``prompt``: the one under which the completion is recorded."""
    return llm.model_for(prompt) if isinstance(llm, RoutingLLM) else llm.model


class EnsembleLLM:
    """Members with positive weights. Raises ``ValueError`` if there is none or a weight is not positive."""

    def __init__(self, members: Sequence[tuple[LLM, float]]) -> None:
        if not members:
            raise ValueError("an ensemble needs at least one model")
        for llm, weight in members:
            if not weight > 0:
                raise ValueError(f"the weight of {llm.model} is {weight}: it must be positive")
        self._members = [llm for llm, _ in members]
        total = sum(weight for _, weight in members)
        self._thresholds = list(accumulate(weight / total for _, weight in members))

    @property
    def model(self) -> str:
        return "+".join(llm.model for llm in self._members)

    def model_for(self, prompt: Prompt) -> str:
        return answering_model(self.choose(prompt), prompt)

    def choose(self, prompt: Prompt) -> LLM:
        """The member that answers ``prompt``."""
        draw = int(prompt.key("ensemble")[:13], 16) / 16**13
        below = [m for m, limit in zip(self._members, self._thresholds, strict=True) if draw < limit]
        return below[0] if below else self._members[-1]

    def stop_waiting(self) -> None:
        for member in self._members:
            stop_waiting(member)

    def down(self) -> bool:
        return all(is_down(member) for member in self._members)

    async def complete(self, prompt: Prompt) -> Completion:
        return await self.choose(prompt).complete(prompt)
