"""Shapes of code that the operators look for or stay away from."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from evolve.llm.genetic.flow import walk

_DRAWS = ("rand", "choice", "integers", "shuffle", "sample")


def is_guard(node: ast.AST) -> bool:
    """Is this ``if len(...) ...: ... return``, or ``if not NAME: ... return``?"""
    if not isinstance(node, ast.If) or not isinstance(node.body[-1], ast.Return):
        return False
    empty = isinstance(node.test, ast.UnaryOp) and isinstance(node.test.operand, ast.Name)
    return empty or any(isinstance(n, ast.Name) and n.id == "len" for n in walk(node.test))


def subexpressions(node: ast.expr) -> Iterator[tuple[str, int | None, ast.expr]]:
    """Subexpressions that may be changed: not moduli, not what bounds a random draw, not the names of callees."""
    for name, value in ast.iter_fields(node):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and name == "right":
            continue
        if isinstance(node, ast.Call) and (_draws(node) or name in ("func", "keywords")):
            if name == "func" and isinstance(node.func, ast.Attribute):
                yield from subexpressions(node.func)
            continue
        if isinstance(node, ast.Subscript) and name == "slice" and isinstance(value, ast.Constant):
            continue
        if isinstance(value, ast.expr):
            yield name, None, value
        elif isinstance(value, list):
            yield from ((name, i, v) for i, v in enumerate(value) if isinstance(v, ast.expr))


def _draws(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return any(word in name for word in _DRAWS)


def size_of(node: ast.AST) -> int:
    return sum(isinstance(part, ast.expr) for part in walk(node))


def is_mod(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod)


def range_size(node: ast.expr) -> int | None:
    """N of ``... % N`` and ``...randrange(N)``."""
    match node:
        case ast.BinOp(op=ast.Mod(), right=ast.Constant(value=int(size))) if size > 0:
            return size
        case ast.Call(func=ast.Attribute(attr="randrange" | "integers"), args=[ast.Constant(value=int(size))]):
            return size if size > 0 else None
        case _:
            return None
