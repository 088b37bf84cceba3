"""Programmatic iterated best response: PIBR, Algorithm 1, for any number of players and starts.

The driver reads like the algorithm. Where the paper leaves a choice: a response whose program does not run is no
policy, so the player keeps the one it had. All that a run knows is written to the store after every response, so a
killed run goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

from evolve.archive.store import Store
from evolve.oracles.core import BestResponseOracle, BestResponseTask, Response
from evolve.pibr_profile import ProfileMatches
from evolve.pibr_starts import initial_profiles
from evolve.pibr_state import PibrConfig, PibrIteration, PibrState, ProfileRecord, Welfare, welfare_of
from evolve.policy_pool import PolicyPool, PooledPolicy
from evolve.program import Program
from evolve.psro import Observer
from evolve.scoring import LINEUP, ScoringTask
from games.core import Game
from games.seeds import match_seed

CHECKPOINT = "pibr"


class ProfilePlayer(Protocol):
    """Plays matches of whole profiles in isolation."""

    async def play(self, programs: Sequence[Program], seeds: Sequence[int]) -> ProfileMatches:
        """Raises :class:`sandbox.faults.SandboxError` if no isolated process can be had."""
        ...


@dataclass(frozen=True)
class _Turn:
    """One best response: whose, in which outer loop of which start, and whether the loop ends with it."""

    start: int
    step: int
    player: int
    ends_loop: bool


class Pibr:
    """One run. ``stop_reason`` is asked before each search; any text ends the run there, with all that it has.

    Starts take turns, outer loop by outer loop, so that a budget that ends early leaves all of them equally far."""

    def __init__(
        self,
        game: Game,
        oracle: BestResponseOracle,
        player: ProfilePlayer,
        store: Store,
        config: PibrConfig,
        *,
        scoring: ScoringTask,
        observer: Observer,
        llm_calls: Callable[[], int],
        stop_reason: Callable[[], str | None],
    ) -> None:
        self._game = game
        self._oracle = oracle
        self._player = player
        self._store = store
        self._config = config
        self._scoring = scoring
        self._observer = observer
        self._llm_calls = llm_calls
        self._stop_reason = stop_reason
        self.state = self._load() or self._initial()

    @property
    def responses_wanted(self) -> int:
        """Best responses of a whole run."""
        config = self._config
        each = self._game.spec.num_players if config.order == "simultaneous" else 1
        return config.iterations * config.starts * each

    async def run(self) -> PibrState:
        """Algorithm 1, lines 3 to 16, for every start."""
        await self._evaluate_starts()
        while self.state.responses < self.responses_wanted and self._stop_reason() is None:
            if not await self._outer_loop(self._turn(self.state.responses)):
                break
        return self.state

    async def welfare(self, profile: Sequence[str], seed: int, matches: int) -> Welfare:
        """EvaluateSocialWelfare over ``matches`` matches; all profiles with one ``seed`` meet the same ones."""
        return await self._welfare(profile, self.state, seed, matches)

    # -- the steps of Algorithm 1 ----------------------------------------------------------------------------------

    async def _evaluate_starts(self) -> None:
        for start in range(self._config.starts):
            if not any(record.start == start for record in self.state.history):
                self._save(await self._with_history(self.state, start, 0))

    async def _outer_loop(self, turn: _Turn) -> bool:
        """Lines 6 to 13, of one player's response. False if not a single proposal of it was paid for."""
        started, calls = time.monotonic(), self._start_mark()
        task = self._task(turn)
        number = self.state.responses + 1
        weights = dict(task.scoring.weights)
        record = PibrIteration(number, turn.player, weights, None, 0, {}, 0, 0.0, start=turn.start, step=turn.step)
        self._observer.search_started(task, record)
        response = await self._oracle.respond(task)
        if response.best is None and response.programs == 0 and self._stop_reason() is not None:
            return False
        record = replace(
            record,
            best_response=response.best.to_json() if response.best else None,
            programs_scored=response.programs,
            failures=dict(response.failures),
            llm_calls=self._llm_calls() - calls,
            wall_s=round(time.monotonic() - started, 3),
            rejected=tuple({"id": r.program_id, "fault": r.fault, "detail": r.detail} for r in response.rejected),
            carried=response.carried,
            search=response.search,
        )
        state = self._with_answer(turn, response, record)
        if turn.ends_loop:
            state = await self._with_history(state, turn.start, turn.step)
        self._observer.search_ended(task, record)
        self._save(state)
        return True

    def _with_answer(self, turn: _Turn, response: Response, record: PibrIteration) -> PibrState:
        """The policy takes its place at once; in a simultaneous loop when all players have theirs."""
        state, profile = self.state, self.state.profiles[turn.start]
        chosen = profile[turn.player]
        if response.best is not None:
            program = response.best.candidate.program
            chosen = program.id
            state = self._pooled(state, turn.player, program, f"br-{record.iteration}", record.iteration)
        state = replace(state, iterations=(*state.iterations, record), responses=state.responses + 1)
        if self._config.order != "simultaneous":
            return state.with_profile(turn.start, (*profile[: turn.player], chosen, *profile[turn.player + 1 :]))
        answers = (*state.answers, chosen)
        if not turn.ends_loop:
            return replace(state, answers=answers)
        return replace(state, answers=()).with_profile(turn.start, answers)

    def _turn(self, number: int) -> _Turn:
        """Response ``number``, counted from 0."""
        config, players = self._config, self._game.spec.num_players
        each = players if config.order == "simultaneous" else 1
        step, rest = divmod(number, config.starts * each)
        start, place = divmod(rest, each)
        player = place
        if config.order == "alternating":
            player = step % players
        elif config.order == "asynchronous":
            player = match_seed(config.seed, "player", start, step) % players
        return _Turn(start, step + 1, player, place == each - 1)

    def _task(self, turn: _Turn) -> BestResponseTask:
        number, player = self.state.responses, turn.player
        profile = self.state.profiles[turn.start]
        programs = [self.state.pools[seat][program_id].program for seat, program_id in enumerate(profile)]
        others = [*programs[:player], *programs[player + 1 :]]
        seed = match_seed(self._config.seed, "search", turn.start, turn.step, player)
        before = [i for i, r in enumerate(self.state.iterations) if (r.start, r.player) == (turn.start, player)]
        return BestResponseTask(
            task_id=_task_id(number),
            scoring=replace(
                self._scoring,
                opponents={program.id: program for program in others},
                weights={LINEUP.join(program.id for program in others): 1.0},
                matches_per_opponent=self._config.matches,
                seed=match_seed(seed, "matches"),
                player=player,
                in_profile=True,
            ),
            incumbents=(programs[player], Program(self._game.brief.seed_program)),
            taken=frozenset(),
            seed=match_seed(seed, "proposals"),
            fresh_seed=match_seed(seed, "fresh"),
            fresh_matches_per_opponent=self._config.fresh_matches,
            previous=_task_id(before[-1]) if before else "",
        )

    async def _with_history(self, state: PibrState, start: int, step: int) -> PibrState:
        """Lines 11 and 12."""
        config, profile = self._config, state.profiles[start]
        welfare = await self._welfare(profile, state, match_seed(config.seed, "search"), config.welfare_matches)
        return replace(state, history=(*state.history, ProfileRecord(start, step, profile, welfare)))

    async def _welfare(self, profile: Sequence[str], state: PibrState, seed: int, matches: int) -> Welfare:
        programs = [state.pools[seat][program_id].program for seat, program_id in enumerate(profile)]
        seeds = [match_seed(seed, "welfare", k) for k in range(matches)]
        return welfare_of(self._game, await self._player.play(programs, seeds))

    # -- state -----------------------------------------------------------------------------------------------------

    def _pooled(self, state: PibrState, seat: int, program: Program, name: str, iteration: int) -> PibrState:
        """A player may come back to a program that it played before; it is kept once."""
        if program.id in state.pools[seat]:
            return state
        pools = list(state.pools)
        pools[seat] = pools[seat].with_policy(PooledPolicy(program, iteration, name))
        return replace(state, pools=tuple(pools))

    def _initial(self) -> PibrState:
        starts = initial_profiles(self._game, self._config.initial, self._config.starts)
        profiles = tuple(tuple(program.id for program in profile) for profile in starts)
        state = PibrState((PolicyPool(),) * self._game.spec.num_players, profiles)
        for number, profile in enumerate(starts):
            for seat, program in enumerate(profile):
                state = self._pooled(state, seat, program, f"start-{number}", 0)
        return state

    def _load(self) -> PibrState | None:
        record = self._store.load(CHECKPOINT)
        return None if record is None else PibrState.from_record(record)

    def _save(self, state: PibrState) -> None:
        self.state = state
        self._store.save(CHECKPOINT, state.to_record())

    def _start_mark(self) -> int:
        """LLM calls spent before this search, remembered so that a resumed search counts its earlier calls too."""
        name = f"{CHECKPOINT}:calls:{self.state.responses}"
        known = self._store.load(name)
        if known is not None:
            return cast(int, known["llm_calls"])
        calls = self._llm_calls()
        self._store.save(name, {"llm_calls": calls})
        return calls


def _task_id(number: int) -> str:
    return f"br-{number:03d}"
