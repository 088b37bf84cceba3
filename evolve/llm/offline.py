"""``offline``: genetic programming behind the protocol of a language model. It needs no key and no network.

It is told what any model is told, the text of the prompt, and nothing else: it takes the program under the heading
``# Current program`` (or ``# Example program``, or else the first it finds), mutates it, and crosses it with the other
programs shown. Asked for a description, it lists what the program's syntax shows; asked for a critique, what in it can
be varied. It knows Python's syntax and
scopes; it knows no game and no strategy.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import re
import time
from dataclasses import dataclass

import numpy as np

from evolve.llm.core import LLM, Completion, Prompt
from evolve.llm.genetic.critique import criticise, reword
from evolve.llm.genetic.description import describe
from evolve.llm.genetic.source import Source
from evolve.llm.genetic.variation import parse, vary
from evolve.llm.providers import ProviderSettings, UnknownModelError
from evolve.mutation import BLOCK_END, BLOCK_START

_FENCE = re.compile(r"^(`{3,})([A-Za-z0-9]*)\s*$")
_TAG = re.compile(r"^<([a-z_]+)>$", re.MULTILINE)
_EDIT_MARK = "<<<<<<< SEARCH"


@dataclass(frozen=True)
class Reading:
    """What the proposer finds in a prompt: the program to change, other programs, and the form of answer asked for.

    ``described`` is the program that the prompt wants described, ``reviewed`` the one it wants criticised, and
    ``instructions`` the text it wants rewritten, if that is what it wants. ``tag`` encloses the answer."""

    program: Source | None
    others: tuple[Source, ...]
    wants_edits: bool
    described: str | None = None
    reviewed: str | None = None
    instructions: str | None = None
    tag: str = ""


def read_prompt(text: str) -> Reading:
    """Headings and the edit mark count outside fences only: what stands inside them is data."""
    heading, fences, outside = "", list[tuple[str, str, str]](), list[str]()
    ticks, language, block = "", "", list[str]()
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if ticks:
            if fence and fence[1] == ticks and not fence[2]:
                fences.append((heading, language, "\n".join(block) + "\n"))
                ticks = ""
            else:
                block.append(line)
        elif fence:
            ticks, language, block = fence[1], fence[2], []
        else:
            outside.append(line)
            heading = line[2:].strip() if line.startswith("# ") else heading
    code = [(title, block) for title, language, block in fences if language in ("python", "py")]
    under = dict(code)
    first = [under[title] for title in ("Current program", "Example program") if title in under]
    texts = dict.fromkeys([*first, *(source for _, source in code)])  # no text twice
    programs = [program for program in map(parse, texts) if program is not None]
    tags = _TAG.findall("\n".join(outside))
    return Reading(
        programs[0] if programs else None,
        tuple(programs[1:]),
        _EDIT_MARK in "\n".join(outside),
        described=under.get("Program (data)"),
        reviewed=under.get("Program under review"),
        instructions=next((block for title, _, block in fences if title == "Current instructions"), None),
        tag=tags[-1] if tags else "",
    )


class OfflineLLM:
    """Answers are a function of ``seed`` and the prompt alone. Tokens are characters / 4; nothing is charged."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @property
    def model(self) -> str:
        return "offline"

    async def complete(self, prompt: Prompt) -> Completion:
        await asyncio.sleep(0)  # lets others run between the answers of a busy batch
        started = time.perf_counter()
        answer = self._answer(prompt)
        tokens_in = -(-len(prompt.system + prompt.user) // 4)
        return Completion(answer, self.model, tokens_in, -(-len(answer) // 4), 0.0, time.perf_counter() - started)

    def _answer(self, prompt: Prompt) -> str:
        reading = read_prompt(prompt.user)
        if reading.described is not None:
            return describe(reading.described)
        if reading.reviewed is not None and not reading.tag:
            return criticise(reading.reviewed)
        if reading.tag == "new_instructions" and reading.instructions is not None:
            return enclosed(reword(reading.instructions, self._generator(prompt)), reading.tag)
        return self._variation(reading, prompt)

    def _variation(self, reading: Reading, prompt: Prompt) -> str:
        if reading.program is None:
            return "The prompt shows no program that parses, and the offline proposer can only vary programs."
        child = vary(reading.program, reading.others, self._generator(prompt))
        if child is None:
            return "No sound variation of the program was found."
        if reading.wants_edits:
            form = search_replace(reading.program.text, child)
        else:
            form = enclosed(child, reading.tag) if reading.tag else f"```python\n{child.rstrip()}\n```\n"
        return f"A random variation of the program.\n\n{form}"

    def _generator(self, prompt: Prompt) -> np.random.Generator:
        digest = hashlib.sha256(f"{self._seed}:{prompt.key(self.model)}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def enclosed(text: str, tag: str) -> str:
    """``text`` between an opening and a closing tag."""
    return f"<{tag}>\n{text.strip()}\n</{tag}>\n"


def search_replace(old: str, new: str) -> str:
    """SEARCH/REPLACE blocks that turn ``old`` into ``new``, each quoting enough lines to match one place only.

    Blocks are applied in order, so each is unique in the text that its predecessors leave."""
    before, after = old.splitlines(), new.splitlines()
    spans = [
        (i1, i2, j1, j2)
        for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        if tag != "equal"
    ]
    blocks = []
    while spans:
        i1, i2, j1, j2 = spans.pop(0)
        text = [*after[:j1], *before[i1:]]  # what the blocks so far have made of the program
        low, high = j1, j1 + (i2 - i1)
        first, last = _block_around(text, low)
        while (low == high or _count(text, text[low:high]) > 1) and (low, high) != (first, last):
            low, high = max(first, low - 1), min(last, high + 1)
        # Context below may run into later changes; it is quoted as it stands now and kept.
        replacement = [*text[low:j1], *after[j1:j2], *text[j1 + (i2 - i1) : high]]
        blocks.append("\n".join((_EDIT_MARK, *text[low:high], "=======", *replacement, ">>>>>>> REPLACE")))
    return "\n\n".join(blocks) + "\n"


def _block_around(lines: list[str], position: int) -> tuple[int, int]:
    """The span of lines around ``position`` between EVOLVE-BLOCK markers, or between the ends of the program."""
    marked = [i for i, line in enumerate(lines) if line.strip() in (BLOCK_START, BLOCK_END)]
    first = max((i + 1 for i in marked if i < position), default=0)
    return first, min((i for i in marked if i >= position), default=len(lines))


def _count(lines: list[str], wanted: list[str]) -> int:
    def bare(part: list[str]) -> list[str]:
        return [line.strip() for line in part]

    return sum(bare(lines[i : i + len(wanted)]) == bare(wanted) for i in range(len(lines) - len(wanted) + 1))


def create(model: str, *, seed: int, settings: ProviderSettings) -> LLM:
    """``offline``; it has no variants."""
    if model:
        raise UnknownModelError(f"offline takes no model name, got {model!r}: write llm.model = 'offline'")
    return OfflineLLM(seed)
