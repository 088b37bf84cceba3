"""Scoring processes on this machine, behind the same interface as the Ray actors of ``workers.remote``."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import connection
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from evolve.program import Program
from evolve.reinforcement.core import Trained, TrainingStage
from evolve.scoring import Evaluation, ScoringTask
from sandbox.faults import SandboxError
from workers.roster import Place, Roster, to_stderr
from workers.scorer import ScorerConfig, ScoringProcess
from workers.secrets import withheld

P = ParamSpec("P")
R = TypeVar("R")
Work = Callable[Concatenate[ScoringProcess, P], R]

ATTEMPTS = 4
"""How often one piece of work is given to a fresh process after its process died."""


class ScorerPool(Protocol):
    """Scoring processes. ``call`` runs one method of :class:`ScoringProcess` in whichever is free."""

    @property
    def size(self) -> int: ...

    async def call(self, work: Work[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Raises :class:`sandbox.faults.SandboxError` if processes keep dying or have no isolation."""
        ...

    def close(self) -> None: ...


class PoolScorer:
    """The :class:`evolve.scoring.Scorer` over a pool, and the :class:`evolve.reinforcement.core.Trainer`."""

    def __init__(self, pool: ScorerPool) -> None:
        self._pool = pool

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        return await self._pool.call(ScoringProcess.score, program, task)

    async def train(self, stage: TrainingStage) -> Trained:
        return await self._pool.call(ScoringProcess.train, stage)


def default_size(configured: int) -> int:
    """The configured number of scorers; 0 means one per processor this process may use."""
    if configured:
        return configured
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_process: ScoringProcess | None = None


def _start(config: ScorerConfig, index: int) -> None:
    global _process
    threading.Thread(target=_end_with_driver, daemon=True).start()
    _process = ScoringProcess(config, index)


def _end_with_driver() -> None:
    """A driver that is killed cannot end its scorers, and an executor's process waits for work for ever."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        connection.wait([driver.sentinel])
        os._exit(1)


def _run(work: Work[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    if _process is None:
        raise SandboxError("the scoring process has not started")
    return work(_process, *args, **kwargs)


class Worker:
    """One process, started by ``spawn`` so that it inherits neither threads nor memory, and without the keys of
    providers in its environment; a new one in its place when it dies."""

    def __init__(self, config: ScorerConfig, index: int) -> None:
        self._arguments = (config, index)
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        with withheld():
            self.executor = ProcessPoolExecutor(1, mp_context=context, initializer=_start, initargs=self._arguments)
            # The process inherits the mask: a terminal's Ctrl-C is for the driver, which ends it in its own time.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            others = multiprocessing.active_children()
            try:
                self.executor.submit(os.getpid)  # any work has it start
                self._processes = [process for process in multiprocessing.active_children() if process not in others]
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def submit(self, work: Work[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Raises ``BrokenProcessPool`` if the process has died, as does the result if it dies meanwhile."""
        return self.executor.submit(partial(_run, work, *args, **kwargs))

    def restart(self, broken: ProcessPoolExecutor) -> None:
        """Of those who saw ``broken`` break, the first starts the new process."""
        if self.executor is broken:
            broken.shutdown(wait=False, cancel_futures=True)
            self._start()

    def close(self) -> None:
        """Ends the process now, whatever it is doing; its sandbox ends with it."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()


class LocalPool:
    """Processes of this machine, one piece of work each at a time. One whose sandbox fails takes no more."""

    def __init__(self, config: ScorerConfig, size: int, report: Callable[[str], None] = to_stderr) -> None:
        self.roster = Roster(size, 1, report)
        self._workers = [Worker(config, index) for index in range(size)]

    @property
    def size(self) -> int:
        return len(self._workers)

    async def call(self, work: Work[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        deaths = 0
        while deaths < ATTEMPTS:
            place = await self.roster.take()
            worker = self._workers[place[1]]
            executor = worker.executor
            try:
                return await self._play(partial(worker.submit, work, *args, **kwargs), place)
            except SandboxError as error:
                self.roster.retire(place[1], str(error))
            except BrokenProcessPool:
                deaths += 1
                worker.restart(executor)
        raise SandboxError(f"scoring processes died {ATTEMPTS} times in a row on the same work")

    async def _play(self, start: Callable[[], Future[R]], place: Place) -> R:
        """Keeps the place until the process has finished the work, also when nobody awaits it any more."""
        try:
            result = asyncio.wrap_future(start())
        except BrokenProcessPool:
            self.roster.give_back(place)
            raise

        def leave(done: asyncio.Future[R]) -> None:
            if not done.cancelled():
                done.exception()
            self.roster.give_back(place)

        try:
            return await asyncio.shield(result)
        finally:
            result.add_done_callback(leave)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
