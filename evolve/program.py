"""A policy program: source text and the name its content gives it."""

from __future__ import annotations

import ast
import hashlib
import threading
from dataclasses import dataclass
from functools import cached_property

ID_LENGTH = 16

_PARSER = threading.Lock()


def parse(source: str) -> ast.Module:
    """As ``ast.parse``, for threads. Python 3.11.7, among others, counts the depth of a tree once for all threads: two
    that parse at a time may get a ``SystemError`` for a sound program (cpython issue 106905)."""
    with _PARSER:
        return ast.parse(source)


def normalise(source: str) -> str:
    """Source with comments and layout taken away; docstrings stay, for they are the stated strategy.

    A source that does not parse is normalised by its line ends alone, so that it still has an id.
    """
    try:
        return ast.unparse(parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "\n".join(line.rstrip() for line in source.strip().splitlines())


@dataclass(frozen=True)
class Program:
    """Policy source code with its content id (sha256 of the normalised source, 16 hex digits)."""

    source: str

    @cached_property
    def id(self) -> str:
        return hashlib.sha256(normalise(self.source).encode("utf-8", "surrogatepass")).hexdigest()[:ID_LENGTH]

    @cached_property
    def docstring(self) -> str:
        """The strategy its author states: of the policy class or function, else of the module, else ``""``."""
        try:
            tree = parse(self.source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ""
        definitions = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        policies = [node for node in definitions if node.name in ("Policy", "policy")]
        return next(filter(None, map(ast.get_docstring, [*policies, tree])), "")
