"""Recordings: their file format, and a model that answers from them alone."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from evolve.archive.memory import MemoryStore
from evolve.llm.budget import Budget
from evolve.llm.core import Completion, Prompt
from evolve.llm.offline import OfflineLLM
from evolve.llm.providers import UnknownModelError, make_llm
from evolve.llm.recording import RecordedLLM
from evolve.llm.replay import (
    Recorded,
    RecordingError,
    ReplayLLM,
    ReplayMissError,
    export_completions,
    load_completions,
)

PROGRAM = "def policy(history):\n    return len(history) % 3\n"


def recorded(count: int = 3) -> list[Recorded]:
    prompts = [Prompt("sys", f"näïve \ud800 {i}", 0.5 * i, 100 + i, f"br-0/{i}") for i in range(count)]
    completions = [Completion(f"answer {i}", "openai:x", i, 2 * i, None if i else 0.25, 0.1) for i in range(count)]
    return [(p.key(c.model), p, c) for p, c in zip(prompts, completions, strict=True)]


@pytest.mark.parametrize("name", ["completions.jsonl", "completions.jsonl.gz"])
def test_what_is_exported_is_loaded(tmp_path: Path, name: str) -> None:
    assert export_completions(recorded(), tmp_path / name) == 3
    assert load_completions(tmp_path / name) == recorded()
    assert load_completions(tmp_path) == recorded()  # a run directory
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_equal_recordings_are_equal_files(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        export_completions(recorded(), tmp_path / name)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).count(b"\n") == 3


async def test_replay_gives_back_each_completion_as_it_was() -> None:
    llm = ReplayLLM(recorded())
    for _, prompt, completion in recorded():
        assert await llm.complete(prompt) == completion
        assert llm.model_for(prompt) == completion.model


async def test_a_request_that_was_not_recorded_is_named() -> None:
    llm = ReplayLLM(recorded())
    _, prompt, _ = recorded()[1]
    other = Prompt(prompt.system, prompt.user, 0.9, prompt.max_output_tokens, prompt.sample)
    with pytest.raises(ReplayMissError, match=r"br-0/1.*differs in: temperature") as caught:
        await llm.complete(other)
    assert "\n" not in str(caught.value)
    with pytest.raises(ReplayMissError, match="recording of 0 completions"):
        await ReplayLLM([]).complete(other)


async def test_a_recorded_run_replays_with_the_same_keys_and_costs(tmp_path: Path) -> None:
    prompts = [Prompt("", f"# Current program\n```python\n{PROGRAM}```\n# Task\nfull", sample=str(i)) for i in range(5)]
    first, second = MemoryStore("first"), MemoryStore("second")
    live = RecordedLLM(OfflineLLM(3), first.completions, first.ledger(Budget()))
    answers = [await live.complete(p) for p in prompts]
    export_completions(first.completions.items(), tmp_path / "completions.jsonl")
    replay = make_llm(f"replay:{tmp_path}", seed=0)
    again = RecordedLLM(replay, second.completions, second.ledger(Budget()))
    assert [await again.complete(p) for p in prompts] == answers
    assert list(second.completions.items()) == list(first.completions.items())
    assert second.ledger(Budget()).spent() == first.ledger(Budget()).spent()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "2 is no recorded completion"),
        ('{"key": "k", "prompt": {"system": "", "user": ""}}', "completion"),
        ('{"key": "k", "prompt": {"system": "", "user": 3}, "completion": {}}', "completion"),
        ("[]", "2 is no recorded completion"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "completions.jsonl"
    export_completions(recorded(1), path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(RecordingError, match=complaint):
        load_completions(path)


def test_a_cut_or_missing_recording_is_named(tmp_path: Path) -> None:
    path = tmp_path / "completions.jsonl.gz"
    export_completions(recorded(), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordingError, match=r"completions\.jsonl\.gz"):
        load_completions(path)
    with pytest.raises(RecordingError, match="no recording at"):
        load_completions(tmp_path / "nothing")
    with pytest.raises(UnknownModelError, match="replay:PATH"):
        make_llm("replay", seed=0)
