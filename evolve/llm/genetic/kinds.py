"""What kind of value an expression probably has, guessed from syntax and use, so that like is replaced by like."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from enum import StrEnum

from evolve.llm.genetic.flow import attribute_of, walk


class Kind(StrEnum):
    NUMBER = "number"
    TRUTH = "truth"
    SEQUENCE = "sequence"
    MAPPING = "mapping"
    TEXT = "text"
    UNKNOWN = "unknown"


Environment = Mapping[str, Kind]
"""Kinds of names, and of attributes as ``self.NAME``."""

_CALL_KINDS = {
    **dict.fromkeys(("len", "int", "float", "abs", "sum", "round", "ord", "hash", "min", "max", "pow"), Kind.NUMBER),
    **dict.fromkeys(("list", "sorted", "range", "reversed", "tuple", "deque", "set", "zip"), Kind.SEQUENCE),
    **dict.fromkeys(("dict", "Counter", "defaultdict"), Kind.MAPPING),
    **dict.fromkeys(("bool", "any", "all", "isinstance"), Kind.TRUTH),
    **dict.fromkeys(("str", "repr"), Kind.TEXT),
}
_METHOD_KINDS = {
    **dict.fromkeys(("count", "index", "random", "randrange", "randint", "uniform", "bit_length", "sqrt"), Kind.NUMBER),
    **dict.fromkeys(("keys", "values", "items", "copy", "split"), Kind.SEQUENCE),
}


def key_of(node: ast.AST, owner: str | None) -> str | None:
    """Under which name an environment knows this expression, if it is a name or an attribute of ``owner``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and attribute_of(node, owner):
        return f"self.{node.attr}"
    return None


_TYPE_KINDS: dict[type[ast.expr], Kind] = {
    ast.Compare: Kind.TRUTH,
    **dict.fromkeys((ast.List, ast.Tuple, ast.Set, ast.ListComp, ast.SetComp), Kind.SEQUENCE),
    **dict.fromkeys((ast.Dict, ast.DictComp), Kind.MAPPING),
    ast.JoinedStr: Kind.TEXT,
}
_CONSTANT_KINDS: dict[type, Kind] = {bool: Kind.TRUTH, int: Kind.NUMBER, float: Kind.NUMBER, str: Kind.TEXT}


def kind_of(node: ast.expr, environment: Environment, owner: str | None) -> Kind:
    kind = _TYPE_KINDS.get(type(node), Kind.UNKNOWN)
    match node:
        case ast.Constant(value=value):
            kind = _CONSTANT_KINDS.get(type(value), Kind.UNKNOWN)
        case ast.Name() | ast.Attribute():
            kind = environment.get(key_of(node, owner) or "", Kind.UNKNOWN)
        case ast.BoolOp(values=[first, *_]) | ast.IfExp(body=first) | ast.NamedExpr(value=first):
            kind = kind_of(first, environment, owner)
        case ast.UnaryOp(op=op):
            kind = Kind.TRUTH if isinstance(op, ast.Not) else Kind.NUMBER
        case ast.BinOp():
            sides = {kind_of(node.left, environment, owner), kind_of(node.right, environment, owner)}
            kind = next((k for k in (Kind.SEQUENCE, Kind.TEXT) if k in sides), Kind.NUMBER)
        case ast.Subscript(slice=ast.Slice()):
            kind = Kind.SEQUENCE
        case ast.Subscript() if not _is_text(node.slice):
            # Lists of numbers are by far the commonest lists.
            is_list = kind_of(node.value, environment, owner) is Kind.SEQUENCE
            kind = Kind.NUMBER if is_list else Kind.UNKNOWN
        case ast.Call(func=ast.Name(id=name)):
            kind = _CALL_KINDS.get(name, Kind.UNKNOWN)
        case ast.Call(func=ast.Attribute(attr=name)):
            kind = _METHOD_KINDS.get(name, _CALL_KINDS.get(name, Kind.UNKNOWN))
    return kind


def infer(statements: Iterable[ast.stmt], known: Environment, owner: str | None) -> dict[str, Kind]:
    """Kinds of the names and attributes that these statements assign or use, on top of ``known``."""
    environment = dict(known)
    nodes = [node for statement in statements for node in walk(statement)]
    for _ in range(2):  # twice, for names that are used above their assignment
        for node in nodes:
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                _note(environment, node.targets[0], kind_of(node.value, environment, owner), owner)
            elif isinstance(node, ast.For | ast.comprehension):
                _note_loop(environment, node.target, node.iter, owner)
            _note_use(environment, node, owner)
    return environment


def _note(environment: dict[str, Kind], target: ast.AST, kind: Kind, owner: str | None) -> None:
    key = key_of(target, owner)
    if key is not None and kind is not Kind.UNKNOWN:
        environment.setdefault(key, kind)


def _note_loop(environment: dict[str, Kind], target: ast.expr, iterable: ast.expr, owner: str | None) -> None:
    if isinstance(iterable, ast.Call) and isinstance(iterable.func, ast.Name):
        if iterable.func.id == "range":
            _note(environment, target, Kind.NUMBER, owner)
        elif iterable.func.id == "enumerate" and isinstance(target, ast.Tuple):
            _note(environment, target.elts[0], Kind.NUMBER, owner)
    elif kind_of(iterable, environment, owner) is Kind.SEQUENCE:
        _note(environment, target, Kind.NUMBER, owner)


def _note_use(environment: dict[str, Kind], node: ast.AST, owner: str | None) -> None:
    match node:
        case ast.Subscript():
            mapping = _is_text(node.slice)
            numeric = isinstance(node.slice, ast.Slice | ast.UnaryOp | ast.Constant)
            if mapping or numeric:
                _note(environment, node.value, Kind.MAPPING if mapping else Kind.SEQUENCE, owner)
        case ast.Call(func=ast.Name(id="len" | "sum" | "sorted" | "enumerate" | "reversed"), args=[argument, *_]):
            _note(environment, argument, Kind.SEQUENCE, owner)
        case ast.Call(func=ast.Name(id="max" | "min"), args=[argument]):
            _note(environment, argument, Kind.SEQUENCE, owner)
        case ast.Call(func=ast.Attribute(value=value, attr="index" | "append" | "extend" | "pop" | "insert")):
            _note(environment, value, Kind.SEQUENCE, owner)
        case ast.Call(func=ast.Attribute(value=value, attr="get" | "setdefault" | "items" | "keys" | "values")):
            _note(environment, value, Kind.MAPPING, owner)
        case ast.BinOp(op=ast.Sub() | ast.Div() | ast.FloorDiv() | ast.Mod() | ast.Pow()):
            _note(environment, node.left, Kind.NUMBER, owner)
            _note(environment, node.right, Kind.NUMBER, owner)
        case ast.Compare(ops=[ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE(), *_]):
            for side in (node.left, *node.comparators):
                _note(environment, side, Kind.NUMBER, owner)
        case _:
            pass


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
