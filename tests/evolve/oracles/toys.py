"""A toy game for oracles: a program's strength is a number in its source, and the stronger one wins the difference."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evolve.archive.core import ArchiveSettings
from evolve.archive.memory import MemoryStore
from evolve.archive.store import Store
from evolve.llm.budget import Budget
from evolve.llm.core import LLM, Completion, Prompt
from evolve.llm.recording import RecordedLLM
from evolve.match_scorer import stratified
from evolve.oracles.archive_search import Fleet, OracleSetup
from evolve.oracles.core import BestResponseTask
from evolve.oracles.evolver import Evolver, Search
from evolve.program import Program
from evolve.prompting import PromptSettings
from evolve.scoring import Evaluation, Failed, OpponentReturn, ScoringTask
from games.registry import make_game
from games.seeds import match_seed

GAME = make_game("repeated_rps", num_rounds=5)
SEED = Program(GAME.brief.seed_program)  # names no strength, so it has 0
_STRENGTH = re.compile(r"^    strength = (\S+)$", re.MULTILINE)


def source(strength: float | str) -> str:
    return f'class Policy:\n    """Strong."""\n    strength = {strength}\n'


def program(strength: float | str) -> Program:
    return Program(source(strength))


def answer(strength: float | str) -> str:
    """A model's answer. ``program("crash")`` fails when scored; other text than a program cannot be read."""
    return f"Here it is.\n\n```python\n{source(strength)}```\n"


def strength_of(program: Program) -> float:
    """Raises ``ValueError`` for a program that crashes."""
    found = _STRENGTH.findall(program.source)
    return float(found[0]) if found else 0.0


@dataclass
class ToyScorer:
    """``noise(program, seed)`` is added to every return of a task with that seed. Calls are kept in ``asked``."""

    noise: Callable[[Program, int], float] = lambda program, seed: 0.0
    asked: list[tuple[str, ScoringTask]] = field(default_factory=list)

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        self.asked.append((program.id, task))
        await asyncio.sleep(0)
        try:
            own = strength_of(program) + self.noise(program, task.seed)
        except ValueError as error:
            return Failed("match", "runtime_error", f"ValueError: {error}")
        matches = task.matches_per_opponent
        results = {i: OpponentReturn(own - strength_of(o), 1.0, matches) for i, (o,) in task.lineups().items()}
        return replace(stratified(results, task), transcript="a transcript")


@dataclass
class ScriptedLLM:
    """Answers with ``script(prompt)``, after ``delay(prompt)`` turns of the event loop; keeps the prompts."""

    script: Callable[[Prompt], str]
    delay: Callable[[Prompt], int] = lambda prompt: 0
    model: str = "scripted"
    prompts: list[Prompt] = field(default_factory=list)

    async def complete(self, prompt: Prompt) -> Completion:
        self.prompts.append(prompt)
        for _ in range(self.delay(prompt)):
            await asyncio.sleep(0)
        return Completion(self.script(prompt), self.model, 10, 10, 0.0, 0.0)


def by_index(answers: Sequence[str]) -> Callable[[Prompt], str]:
    """The script that gives proposal k the k-th answer."""
    return lambda prompt: answers[index_of(prompt)]


def index_of(prompt: Prompt) -> int:
    return int(prompt.sample.rpartition("/")[2])


def scoring(opponents: Mapping[float, float]) -> ScoringTask:
    """Against programs of these strengths, with these weights."""
    programs = {strength: program(strength) for strength in opponents}
    return ScoringTask(
        {p.id: p for p in programs.values()},
        {programs[strength].id: weight for strength, weight in opponents.items()},
        matches_per_opponent=4,
        seed=7,
    )


def task(opponents: Mapping[float, float] | None = None, *, name: str = "br-000") -> BestResponseTask:
    """A task whose only incumbent is the seed program, which is in the pool."""
    return BestResponseTask(
        name,
        scoring(opponents or {3.0: 1.0}),
        (SEED,),
        frozenset({SEED.id}),
        seed=match_seed(1, name),
        fresh_seed=5,
        fresh_matches_per_opponent=16,
    )


@dataclass
class EvolverFleet:
    """Evolvers of this process, taking turns: what ``workers.fleet`` is in a run."""

    store: Store
    llm: LLM
    scorer: ToyScorer
    evolvers: int = 1
    slots: int = 3

    async def evolve(self, search: Search) -> bool:
        made = [Evolver(f"e{i}", search, GAME, self.store, self.llm, self.scorer) for i in range(self.evolvers)]
        await asyncio.gather(*(evolver.work(self.slots) for evolver in made))
        return made[0].archive.progress().done

    async def drain(self) -> None:
        raise AssertionError("nobody drains this fleet")


@dataclass
class World:
    """One run: its store, its model behind the run's budget, its scorer, and whether each search came to its end."""

    llm: ScriptedLLM
    scorer: ToyScorer = field(default_factory=ToyScorer)
    store: MemoryStore = field(default_factory=lambda: MemoryStore("run"))
    budget: Budget = field(default_factory=Budget)
    archive: ArchiveSettings = field(default_factory=lambda: ArchiveSettings(return_scale=10.0))
    prompts: PromptSettings = field(default_factory=PromptSettings)
    in_flight: int = 3
    during: Callable[[Fleet], None] = lambda fleet: None
    finished: list[bool] = field(default_factory=list)

    def setup(self) -> OracleSetup:
        llm = RecordedLLM(self.llm, self.store.completions, self.store.ledger(self.budget))
        fleet = EvolverFleet(self.store, llm, self.scorer)
        return OracleSetup(
            GAME, self.store, self.scorer, llm, self.in_flight, fleet, self._supervise, self.archive, self.prompts
        )

    async def _supervise(self, fleet: Fleet, search: Search) -> None:
        self.during(fleet)
        self.finished.append(await fleet.evolve(search))

    def again(self, llm: ScriptedLLM, budget: Budget | None = None) -> World:
        """The same run, started once more."""
        return replace(self, llm=llm, scorer=ToyScorer(), finished=[], budget=budget or Budget())

    def commits(self) -> list[dict[str, object]]:
        """Commit events without their time."""
        return [{k: v for k, v in e.items() if k != "t_s"} for e in self.store.events() if e["type"] == "commit"]
