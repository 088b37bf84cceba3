"""An LLM agent of repeated games: no program is written, a language model predicts every single round.

This is the CSRO paper's baseline "LLM agent", which it takes from Lanctot et al. 2023 (arXiv:2303.03196): the model is
shown the match so far as text, predicts the opponent's next action, and the agent plays a best response to that
prediction. The wording of the prompt, in ``evolve/prompts/llm_agent.txt``, is ours. What stays the same from round to
round stands first and the rounds last, so that each prompt of a match begins with the one before it and a provider that
keeps prefixes reads only the last line anew.

A model is asked from an event loop and may take seconds, so the agent is no :class:`games.core.Policy` and its matches
are played here: against trusted policies alone, under the rules and seeds of :func:`games.match.record_match`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from evolve.baselines.repeated_games import StagePayoffs, stage_payoffs
from evolve.llm.core import LLM, Prompt
from evolve.prompting import render
from games.core import Game, Move, Observation, PolicyFactory
from games.match import choose_action
from games.seeds import episode_rng, sampling_rng, seat_seed

MAX_OUTPUT_TOKENS = 16
"""Room for one action and the name of it; OpenAI's Responses API takes no less."""

_WORDS = {"repeated_rps": ("repeated rock-paper-scissors", ("rock", "paper", "scissors"))}
"""Title and names of the actions, where they have names; of other games a prompt shows the numbers."""

_TIE = 1e-12


@dataclass(frozen=True)
class Stage:
    """The game that is repeated: ``title`` and ``names`` are what it and its actions are called."""

    title: str
    names: tuple[str, ...]
    payoffs: StagePayoffs

    @classmethod
    def of(cls, game: Game) -> Stage | None:
        """``None`` unless ``game`` repeats one symmetric simultaneous stage between two players."""
        payoffs = stage_payoffs(game)
        if payoffs is None:
            return None
        numbers = tuple(map(str, range(len(payoffs))))
        title, names = _WORDS.get(game.spec.name, (game.spec.name, numbers))
        return cls(title, names, payoffs)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """First letters of the names, or the whole numbers."""
        return tuple(name if name.isdigit() else name[0].upper() for name in self.names)

    @property
    def uniform(self) -> list[float]:
        return [1.0 / len(self.payoffs)] * len(self.payoffs)

    def read(self, answer: str) -> int | None:
        """The first action that an answer names by label or name, in either case; ``None`` if it names none.

        It has to stand alone: the s of "it's" and the 1 of "10" are no actions. Where actions have names a number is
        one only as the whole answer, for in "after 2 rounds" it is none."""
        whole = answer.strip().rstrip(".")
        if whole.isdecimal() and int(whole) < len(self.names):
            return int(whole)
        found = self._action.search(answer)
        return None if found is None else self._spellings[found[0].casefold()]

    def best_response(self, predicted: int) -> list[float]:
        """The mixture over the actions that earn most against ``predicted``, each of equals alike."""
        earned = [row[predicted] for row in self.payoffs]
        best = [value >= max(earned) - _TIE for value in earned]
        return [float(chosen) / sum(best) for chosen in best]

    @cached_property
    def _spellings(self) -> dict[str, int]:
        by_action = enumerate(zip(self.labels, self.names, strict=True))
        return {text.casefold(): action for action, texts in by_action for text in texts}

    @cached_property
    def _action(self) -> re.Pattern[str]:
        quote = r"['\u2019]"  # a part of the word between letters only
        before, after = rf"(?<![a-z0-9])(?<![a-z]{quote})", rf"(?![a-z0-9])(?!{quote}[a-z])"
        return re.compile(f"{before}(?:{'|'.join(self._spellings)}){after}", re.IGNORECASE)


class LLMAgent:
    """The player of one match. ``sample`` names the match: where two of them have the same history, each is an answer
    of its own. At ``temperature`` 0 the model's likeliest prediction is played against; higher ones draw from its
    predictions, which leaves less to a player that exploits it. ``calls`` counts the answers so far and ``unreadable``
    those among them that named no action."""

    def __init__(
        self, llm: LLM, stage: Stage, sample: str, temperature: float, max_output_tokens: int = MAX_OUTPUT_TOKENS
    ) -> None:
        self._llm = llm
        self._stage = stage
        self._sample = sample
        self._temperature = temperature
        self._max_output_tokens = max_output_tokens
        self.calls = 0
        self.unreadable = 0

    async def act(self, observation: Observation) -> Move:
        """Uniform in the first round and after an answer that cannot be read. Raises what the model raises."""
        mine: Sequence[int] = observation["my_actions"]  # type: ignore[assignment]
        theirs: Sequence[int] = observation["opponent_actions"]  # type: ignore[assignment]
        if not theirs:
            return self._stage.uniform
        answer = await self._llm.complete(self.prompt(mine, theirs))
        self.calls += 1
        predicted = self._stage.read(answer.text)
        if predicted is None:
            self.unreadable += 1
            return self._stage.uniform
        return self._stage.best_response(predicted)

    def prompt(self, mine: Sequence[int], theirs: Sequence[int]) -> Prompt:
        """The request for the opponent's action in the round after these. All of it is the user's text, for not every
        model behind OpenAI's interface takes a system text."""
        return Prompt(
            system="",
            user=render("llm_agent.txt", stage=self._stage, rounds=list(zip(mine, theirs, strict=True))),
            temperature=self._temperature,
            max_output_tokens=self._max_output_tokens,
            sample=f"{self._sample}, round {len(theirs)}",
        )


async def play_match(game: Game, agent: LLMAgent, opponent: PolicyFactory, seed: int, seat: int) -> float:
    """The agent's return in ``seat`` of one match; ``seed`` decides all but the model's answers."""
    policy = opponent(1 - seat, seat_seed(seed, 1 - seat))
    rngs = [sampling_rng(seed, player) for player in (0, 1)]
    episode = game.new_episode(episode_rng(seed))
    while pending := episode.pending():
        moves = {seat: await agent.act(pending[seat]), 1 - seat: policy.act(pending[1 - seat])}
        episode.step({p: choose_action(move, game.spec.num_actions, None, rngs[p]) for p, move in moves.items()})
    return float(episode.returns()[seat])
