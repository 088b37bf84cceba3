"""Mutation operators. Each takes a :class:`Workshop` and returns the text of a changed program, or ``None`` if it finds
nothing to change. They propose; whether the result is sound is checked by the caller."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable

import numpy as np

from evolve.llm.genetic.kinds import Kind, key_of
from evolve.llm.genetic.parts import Workshop, expression
from evolve.llm.genetic.source import Scope, Site, Slot
from evolve.llm.genetic.syntax import is_guard, is_mod, range_size

_ARITHMETIC: tuple[type[ast.operator], ...] = (ast.Add, ast.Sub, ast.Mult)
_ORDER: tuple[type[ast.cmpop], ...] = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)

Operator = Callable[[Workshop], str | None]


def change_constant(shop: Workshop) -> str | None:
    slots = [s for s in _inner(shop) if isinstance(s.node, ast.Constant) and isinstance(s.node.value, int | float)]
    if not slots:
        return None
    slot = shop.pick(slots)
    assert isinstance(slot.node, ast.Constant)
    new = _other_constant(shop, slot.node.value)
    guards = is_guard(slot.site.statement)
    return None if new is None or (guards and new < slot.node.value) else _put(shop, slot, ast.Constant(new))  # type: ignore[operator]


def _other_constant(shop: Workshop, value: object) -> int | float | None:
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return float(f"{value * np.exp(shop.rng.normal(0.0, 0.5)):.3g}") if value else 0.1
    if not isinstance(value, int):
        return None
    if shop.chance(0.6):
        return max(0, value + shop.pick((-1, 1)))
    return int(shop.rng.integers(0, max(4, 2 * abs(value)) + 1))


def change_operator(shop: Workshop) -> str | None:
    slots = [s for s in _inner(shop) if isinstance(s.node, ast.BinOp | ast.Compare | ast.BoolOp) and not _in_guard(s)]
    if not slots:
        return None
    slot = shop.pick(slots)
    match slot.node:
        case ast.BoolOp(op=op, values=values):
            new: ast.expr = ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _ARITHMETIC) and slot.kind is Kind.NUMBER:
            new = ast.BinOp(left, shop.pick([o for o in _ARITHMETIC if not isinstance(op, o)])(), right)
        case ast.Compare(left=left, ops=[op, *rest], comparators=others) if isinstance(op, _ORDER):
            new = ast.Compare(left, [shop.pick([o for o in _ORDER if not isinstance(op, o)])(), *rest], others)
        case _:
            return None
    return _put(shop, slot, new)


def replace_name(shop: Workshop) -> str | None:
    slots = [s for s in _inner(shop) if key_of(s.node, s.site.scope.owner) and s.kind is not Kind.UNKNOWN]
    if not slots:
        return None
    slot = shop.pick(slots)
    now = key_of(slot.node, slot.site.scope.owner)
    others = [n for n in shop.source.names(slot.site, slot.kind) if n != now]
    return _put(shop, slot, expression(shop.pick(others), slot.site)) if others else None


def replace_expression(shop: Workshop) -> str | None:
    """Puts a part of this program or of a donor, or a newly grown number or condition, where one of its kind was."""
    kinds = (Kind.NUMBER, Kind.TRUTH, Kind.SEQUENCE)
    slots = [s for s in _inner(shop) if s.kind in kinds and not _in_guard(s)]
    if not slots:
        return None
    slot = shop.pick(slots)
    new: ast.expr | None
    if slot.is_index:
        new = shop.element(slot.site)
    elif slot.kind is Kind.NUMBER:
        new = shop.number(slot.site)
        if new is not None and shop.chance(0.4):
            new = ast.BinOp(slot.node, shop.pick(_ARITHMETIC)(), new)
    elif slot.kind is Kind.TRUTH:
        new = shop.truth(slot.site)
    else:
        new = shop.part(slot.site, slot.kind)
    return _put(shop, slot, new)


def change_result(shop: Workshop) -> str | None:
    """Returns something else: shifted within its range, another result, or one of two by a condition."""
    slots = [s for s in shop.source.slots if s.exposed and s.kind in (Kind.NUMBER, Kind.UNKNOWN)]
    if not slots:
        return None
    slot = shop.pick(slots)
    size = range_size(slot.node)
    new: ast.expr | None
    if size is not None and size > 1 and shop.chance(0.4):
        value = slot.node.left if is_mod(slot.node) else slot.node  # type: ignore[attr-defined]
        shift = ast.Constant(int(shop.rng.integers(1, size)))
        new = _simplified(ast.BinOp(value, ast.Add(), shift), size)
    else:
        new = shop.result(slot.site)
        test = shop.truth(slot.site) if shop.chance(0.5) else None
        if new is not None and test is not None:
            new = ast.IfExp(test, new, slot.node)
    return _put(shop, slot, new)


def negate_condition(shop: Workshop) -> str | None:
    tests = [s for s in _inner(shop) if s.name == "test" and isinstance(s.parent, ast.If | ast.IfExp)]
    slots = [s for s in tests if not _in_guard(s)]
    if not slots:
        return None
    slot = shop.pick(slots)
    match slot.node:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _put(shop, slot, operand)
        case node:
            return _put(shop, slot, ast.UnaryOp(ast.Not(), node))


def delete_statement(shop: Workshop) -> str | None:
    sites = [s for s in _movable(shop) if not isinstance(s.statement, ast.Pass) and not is_guard(s.statement)]
    return shop.source.replace(shop.pick(sites), []) if sites else None


def duplicate_statement(shop: Workshop) -> str | None:
    """Copies a statement to another place of the same function."""
    sites = [s for s in _movable(shop) if s.guarded]
    if not sites:
        return None
    place = shop.pick(sites)
    copied = shop.pick([s for s in sites if s.scope == place.scope]).statement
    if isinstance(copied, ast.Return | ast.Pass) or any(node is place.statement for node in ast.walk(copied)):
        return None
    return shop.source.insert(place, [copied])


def swap_statements(shop: Workshop) -> str | None:
    sites = [s for s in _movable(shop) if not is_guard(s.statement)]
    pairs = [(a, b) for a in sites for b in sites if a.body is b.body and _next_to(a, b)]
    if not pairs:
        return None
    first, second = shop.pick(pairs)
    start, middle = first.statement.lineno, second.statement.lineno
    end = second.statement.end_lineno or middle
    lines = shop.source.lines
    return shop.source.splice(start, end, [*lines[middle - 1 : end], *lines[start - 1 : middle - 1]])


def wrap_in_condition(shop: Workshop) -> str | None:
    """Runs a statement under a condition only; a number that is set becomes another one in the other case."""
    sites = [s for s in _movable(shop) if s.scope.function is not None and not isinstance(s.statement, ast.Return)]
    if not sites:
        return None
    site = shop.pick(sites)
    test = shop.truth(site)
    if test is None or is_guard(site.statement):
        return None
    other: list[ast.stmt] = []
    statement = site.statement
    if isinstance(statement, ast.Assign) and shop.kind(statement.value, site) is Kind.NUMBER:
        number = shop.number(site)
        other = [ast.Assign(copy.deepcopy(statement.targets), number)] if number is not None else []
    return shop.source.replace(site, [ast.If(test, [statement], other)])


def return_early(shop: Workshop) -> str | None:
    """Adds ``if CONDITION: return RESULT`` in front of a statement."""
    sites = [s for s in _movable(shop) if _returns_values(s.scope) and not is_guard(s.statement)]
    if not sites:
        return None
    site = shop.pick(sites)
    test, result = shop.truth(site), shop.result(site)
    if test is None or result is None:
        return None
    return shop.source.insert(site, [ast.If(test, [ast.Return(result)], [])])


def _put(shop: Workshop, slot: Slot, new: ast.expr | None) -> str | None:
    return None if new is None else shop.source.substitute(slot, new)


def _inner(shop: Workshop) -> list[Slot]:
    """Slots whose value stays inside the function, and that cannot keep a loop from ending."""
    return [s for s in shop.source.slots if not s.exposed and not (s.site.in_while or isinstance(s.parent, ast.While))]


def _in_guard(slot: Slot) -> bool:
    return is_guard(slot.site.statement)


def _movable(shop: Workshop) -> list[Site]:
    return [s for s in shop.source.sites if s.movable and not s.in_while]


def _returns_values(scope: Scope) -> bool:
    if scope.function is None:
        return False
    return any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(scope.function))


def _next_to(first: Site, second: Site) -> bool:
    position = first.body.index(first.statement)
    return position + 1 < len(first.body) and first.body[position + 1] is second.statement


def _simplified(value: ast.expr, size: int) -> ast.expr:
    """``value % size`` with the constants of ``x + a + b`` added up, so that repeated shifts do not pile up."""
    total = 0
    while isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add) and isinstance(value.right, ast.Constant):
        if not isinstance(value.right.value, int):
            break
        total += value.right.value
        value = value.left
    shifted = ast.BinOp(value, ast.Add(), ast.Constant(total % size)) if total % size else value
    return ast.BinOp(shifted, ast.Mod(), ast.Constant(size))


MUTATIONS: dict[Operator, float] = {
    change_constant: 3.0,
    change_operator: 1.0,
    replace_name: 1.5,
    replace_expression: 3.0,
    change_result: 2.0,
    negate_condition: 0.4,
    delete_statement: 0.7,
    duplicate_statement: 0.4,
    swap_statements: 0.4,
    wrap_in_condition: 1.0,
    return_early: 1.0,
}
"""Operators and their relative frequencies."""
