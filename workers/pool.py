"""Scoring processes on this machine, behind the same interface as the Ray actors of ``workers.remote``."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from evolve.program import Program
from evolve.scoring import Evaluation, ScoringTask
from sandbox.faults import SandboxError
from workers.scorer import ScorerConfig, ScoringProcess

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
    """The :class:`evolve.scoring.Scorer` over a pool."""

    def __init__(self, pool: ScorerPool) -> None:
        self._pool = pool

    async def score(self, program: Program, task: ScoringTask) -> Evaluation:
        return await self._pool.call(ScoringProcess.score, program, task)


def default_size(configured: int) -> int:
    """The configured number of scorers; 0 means one per processor this process may use."""
    if configured:
        return configured
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_process: ScoringProcess | None = None


def _start(config: ScorerConfig, counter: multiprocessing.sharedctypes.Synchronized[int]) -> None:  # type: ignore[name-defined]
    global _process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the driver, which ends us in its own time
    with counter.get_lock():
        index = counter.value
        counter.value += 1
    _process = ScoringProcess(config, index)


def _run(work: Work[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    if _process is None:
        raise SandboxError("the scoring process has not started")
    return work(_process, *args, **kwargs)


class LocalPool:
    """Processes of this machine, started by ``spawn`` so that they inherit neither threads nor memory."""

    def __init__(self, config: ScorerConfig, size: int) -> None:
        self._config = config
        self._size = size
        self._executor = self._make()

    @property
    def size(self) -> int:
        return self._size

    def _make(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(
            self._size, mp_context=context, initializer=_start, initargs=(self._config, context.Value("i", 0))
        )

    async def call(self, work: Work[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        for _ in range(ATTEMPTS):
            executor = self._executor
            try:
                return await loop.run_in_executor(executor, partial(_run, work, *args, **kwargs))
            except BrokenProcessPool:
                # The first to notice replaces the pool; the others find the new one.
                if self._executor is executor:
                    executor.shutdown(wait=False, cancel_futures=True)
                    self._executor = self._make()
        raise SandboxError(f"scoring processes died {ATTEMPTS} times in a row on the same work")

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
