"""What a program's syntax shows of it, in words: no claim about how it plays."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from evolve.llm.genetic.source import parse_writable
from evolve.program import Program

_MOST_NAMES = 12
_LONGEST_DOCSTRING = 300
_BRANCHES = (ast.If, ast.IfExp, ast.Match)
_LOOPS = (ast.For, ast.While, ast.comprehension)


def describe(source: str) -> str:
    """Docstring, keys read, attributes kept, calls, constants and size of a program, in a few lines of plain text."""
    try:
        tree = parse_writable(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "The text is no Python program, so there is nothing that it does."
    nodes = list(ast.walk(tree))
    docstring = " ".join(Program(source).docstring.split())[:_LONGEST_DOCSTRING]
    lines = [f"Its docstring says: {docstring}" if docstring else "It has no docstring."]
    for title, names in (
        ("It reads", _keys(nodes)),
        ("It keeps", _attributes(nodes)),
        ("It calls", _calls(nodes)),
        ("Its numbers are", _numbers(nodes)),
    ):
        if names:
            lines.append(f"{title} {_listed(names)}.")
    for name, kinds in (("branches", _BRANCHES), ("loops", _LOOPS), ("return statements", (ast.Return,))):
        lines.append(f"Number of {name}: {sum(isinstance(node, kinds) for node in nodes)}.")
    return "\n".join(lines)


def _keys(nodes: Iterable[ast.AST]) -> list[str]:
    """String constants that index something, or that ``.get`` is asked for."""
    slices = [n.slice for n in nodes if isinstance(n, ast.Subscript)]
    asked = [n.args[0] for n in nodes if isinstance(n, ast.Call) and _name(n.func).endswith(".get") and n.args]
    return [repr(k.value) for k in (*slices, *asked) if isinstance(k, ast.Constant) and isinstance(k.value, str)]


def _attributes(nodes: Iterable[ast.AST]) -> list[str]:
    return [n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)]


def _calls(nodes: Iterable[ast.AST]) -> list[str]:
    return [name for n in nodes if isinstance(n, ast.Call) and (name := _name(n.func))]


def _numbers(nodes: Iterable[ast.AST]) -> list[str]:
    return [repr(n.value) for n in nodes if isinstance(n, ast.Constant) and type(n.value) in (int, float)]


def _name(function: ast.expr) -> str:
    """``max``, or ``.get`` with what stands before it where that is a name; ``""`` for a computed function."""
    if isinstance(function, ast.Name):
        return function.id
    if isinstance(function, ast.Attribute):
        before = _name(function.value)
        return f"{before}.{function.attr}"
    return ""


def _listed(names: Iterable[str]) -> str:
    """Each once, in the order of its first place."""
    distinct = list(dict.fromkeys(names))
    rest = len(distinct) - _MOST_NAMES
    return ", ".join(distinct[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
