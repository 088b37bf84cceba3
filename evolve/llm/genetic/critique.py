"""Answers to requests for feedback, by one who cannot judge play: what may be varied, and instructions reordered."""

from __future__ import annotations

import ast
import re

import numpy as np

from evolve.program import parse

_MOST_PLACES = 8
_VARIED = (ast.Constant, ast.Compare, ast.BinOp, ast.BoolOp)


def criticise(source: str) -> str:
    """The lines of a program that hold constants, comparisons or arithmetic: where a variation would begin."""
    try:
        tree = parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"The program does not parse ({error}); it must before anything else is changed."
    numbers = {
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, _VARIED) and not (isinstance(node, ast.Constant) and isinstance(node.value, str))
    }
    lines = source.splitlines()
    places = [f"- line {number}: {lines[number - 1].strip()}" for number in sorted(numbers)][:_MOST_PLACES]
    if not places:
        return "Nothing in the program can be varied but its statements."
    return "\n".join(["The offline proposer cannot judge play. It would vary one of these lines:", *places])


def reword(instructions: str, rng: np.random.Generator) -> str:
    """The same sentences, two of them exchanged: instructions that ask anew and claim nothing new."""
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+", instructions.strip()) if part.strip()]
    if len(sentences) < 2:
        return f"{instructions.strip()} Think of another way."
    first, second = rng.choice(len(sentences), size=2, replace=False)
    sentences[first], sentences[second] = sentences[second], sentences[first]
    return " ".join(sentences)
