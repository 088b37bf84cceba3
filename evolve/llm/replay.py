"""Recorded completions: their file format, and a model that answers from them alone.

A recording is JSON Lines, gzipped if its name ends in ``.gz``: one object per completion with ``key``, ``model``,
``prompt`` and ``completion``, in the order in which they were stored.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TextIO

from evolve.llm.core import LLM, Completion, LLMRefusedError, Prompt
from evolve.llm.providers import ProviderSettings, UnknownModelError

RECORDING_NAMES = ("completions.jsonl", "completions.jsonl.gz")

Recorded = tuple[str, Prompt, Completion]


class ReplayMissError(LLMRefusedError):
    """The recording does not hold this request: the run has left it here."""


class RecordingError(ValueError):
    """A recording that is missing or does not read back. One line with path and line number."""


class ReplayLLM:
    """Answers each recorded prompt with its completion, token counts and latency as they were; never anything else.

    Prompts are matched whole, whatever model answered them; ``model`` is what a run calls this LLM.
    """

    def __init__(self, recorded: Iterable[Recorded], model: str = "replay") -> None:
        self.model = model
        self._answers = {prompt: completion for _, prompt, completion in recorded}

    def model_for(self, prompt: Prompt) -> str:
        return self._lookup(prompt).model

    async def complete(self, prompt: Prompt) -> Completion:
        return self._lookup(prompt)

    def _lookup(self, prompt: Prompt) -> Completion:
        completion = self._answers.get(prompt)
        if completion is None:
            raise ReplayMissError(self._explain(prompt))
        return completion

    def _explain(self, prompt: Prompt) -> str:
        asked = asdict(prompt)
        differences = ([name for name in asked if asked[name] != getattr(known, name)] for known in self._answers)
        nearest = min(differences, key=len, default=list(asked))
        return (
            f"the recording of {len(self._answers)} completions has no answer to request {prompt.key(self.model)[:12]} "
            f"(sample {prompt.sample!r}); the nearest recorded one differs in: {', '.join(nearest)}"
        )


def create(model: str, *, seed: int, settings: ProviderSettings) -> LLM:
    """``replay:PATH``: a recording, or the directory of a run that holds one."""
    if not model:
        raise UnknownModelError("replay needs a recording: replay:PATH, a completions.jsonl[.gz] or a run directory")
    return ReplayLLM(load_completions(Path(model)), f"replay:{model}")


def export_completions(completions: Iterable[Recorded], path: Path) -> int:
    """Writes a recording at ``path``, whole or not at all; returns the number of completions."""
    count = 0
    partial = path.with_name(path.name + ".partial")
    with _open_to_write(partial, compressed=path.suffix == ".gz") as file:
        for key, prompt, completion in completions:
            record = {"key": key, "model": completion.model, "prompt": asdict(prompt), "completion": asdict(completion)}
            file.write(json.dumps(record) + "\n")
            count += 1
    partial.replace(path)
    return count


def load_completions(path: Path) -> list[Recorded]:
    """Reads a recording, or the one in a run directory. Raises :class:`RecordingError`."""
    file = _find(path)
    try:
        with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
            return [_parse(line, f"{file}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise RecordingError(f"cannot read the recording {file}: {error}") from error


def _find(path: Path) -> Path:
    candidates = [path / name for name in RECORDING_NAMES] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise RecordingError(f"no recording at {path}: expected a completions.jsonl[.gz] or a run directory with one")


def _parse(line: str, where: str) -> Recorded:
    try:
        record = json.loads(line)
        prompt, completion = Prompt(**record["prompt"]), Completion(**record["completion"])
        _check_types(prompt)
        _check_types(completion)
        return str(record["key"]), prompt, completion
    except (ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{where} is no recorded completion: {error}") from error


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "float | None": (int, float, type(None)),
}


def _check_types(record: Prompt | Completion) -> None:
    for field in fields(record):
        if not isinstance(getattr(record, field.name), _TYPES[str(field.type)]):
            raise TypeError(f"{field.name} should be {field.type}")


@contextmanager
def _open_to_write(path: Path, *, compressed: bool) -> Iterator[TextIO]:
    with path.open("wb") as raw:
        if not compressed:
            with io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as text:
                yield text
            return
        # No name and no time in the header: equal recordings are equal files.
        packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0)
        with packed, io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as text:
            yield text
