"""What new code is made of: names in scope, subexpressions of the program and of others, small expressions of these."""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from evolve.llm.genetic.flow import BUILTINS, accesses, walk
from evolve.llm.genetic.kinds import Kind, key_of, kind_of
from evolve.llm.genetic.source import Site, Slot, Source
from evolve.llm.genetic.syntax import range_size

T = TypeVar("T")

_ARITHMETIC: tuple[type[ast.operator], ...] = (ast.Add, ast.Sub, ast.Mult)
_ORDER: tuple[type[ast.cmpop], ...] = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)

Part = tuple[Source, Slot]


@dataclass(eq=False)
class Workshop:
    """The program to change, other programs to take parts from, and a generator of random numbers."""

    source: Source
    donors: Sequence[Source]
    rng: np.random.Generator

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def kind(self, node: ast.expr, site: Site) -> Kind:
        return kind_of(node, self.source.environment(site.scope), site.scope.owner)

    def number(self, site: Site, depth: int = 2) -> ast.expr | None:
        """A number that can be had where the site stands: a name, an element, a length, a part, or a sum of these."""
        draw = self.rng.random()
        if depth and draw < 0.25:
            left, right = self.number(site, depth - 1), self.number(site, depth - 1)
            return left or right if left is None or right is None else ast.BinOp(left, self.pick(_ARITHMETIC)(), right)
        if draw < 0.45 and (part := self.part(site, Kind.NUMBER)) is not None:
            return part
        if draw < 0.75 and (item := self.element(site)) is not None:
            return item
        lists, names = self.source.names(site, Kind.SEQUENCE), self.source.names(site, Kind.NUMBER)
        if lists and draw < 0.85:
            return ast.Call(ast.Name(self.pick(("len", "sum")), ast.Load()), [expression(self.pick(lists), site)], [])
        if names and draw < 0.95:
            return expression(self.pick(names), site)
        return ast.Constant(int(self.rng.integers(0, 4)))

    def element(self, site: Site) -> ast.expr | None:
        """One of the last elements of a list, or 0 where the list may be too short for that."""
        lists = self.source.names(site, Kind.SEQUENCE)
        if not lists:
            return None
        items = expression(self.pick(lists), site)
        back = 1 if self.chance(0.7) else int(self.rng.integers(2, 4))
        item = ast.Subscript(items, ast.UnaryOp(ast.USub(), ast.Constant(back)), ast.Load())
        if site.guarded and back == 1:
            return item
        length = ast.Call(ast.Name("len", ast.Load()), [items], [])
        return ast.IfExp(ast.Compare(length, [ast.GtE()], [ast.Constant(back)]), item, ast.Constant(0))

    def truth(self, site: Site) -> ast.expr | None:
        """A condition that can be tested where the site stands."""
        if self.chance(0.4) and (part := self.part(site, Kind.TRUTH)) is not None:
            return part
        left = self.number(site)
        if left is None:
            return None
        if self.chance(0.3):
            period = int(self.rng.integers(2, 8))
            remainder = ast.BinOp(left, ast.Mod(), ast.Constant(period))
            return ast.Compare(remainder, [ast.Eq()], [ast.Constant(int(self.rng.integers(period)))])
        right = self.number(site) if self.chance(0.6) else ast.Constant(int(self.rng.integers(0, 6)))
        return None if right is None else ast.Compare(left, [self.pick(_ORDER)()], [right])

    def result(self, site: Site) -> ast.expr | None:
        """A value to return instead: one that a function of that name returns, or a number brought into range."""
        known = [part for part in self._results if part[1].site.scope.name == site.scope.name]
        if known and (not self._ranges or self.chance(0.3)):
            return self.adapt(*self.pick(known), site)
        number = self.number(site) if self._ranges else None
        return None if number is None else ast.BinOp(number, ast.Mod(), ast.Constant(self.pick(self._ranges)))

    def part(self, site: Site, kind: Kind) -> ast.expr | None:
        """A subexpression of that kind from this program or a donor, with names that exist where the site stands."""
        source = self.pick((self.source, *self.donors))
        found = source.parts[kind]
        return self.adapt(source, self.pick(found), site) if found else None

    def adapt(self, source: Source, slot: Slot, site: Site) -> ast.expr | None:
        """A copy of the slot's expression; names that do not exist at the site become others of their kind.

        ``None`` if there are none, or if an element of a list would be read where the list may be empty."""
        if not site.guarded and any(isinstance(node, ast.Subscript) for node in walk(slot.node)):
            return None
        there, owner = source.environment(slot.site.scope), slot.site.scope.owner
        renaming: dict[str, ast.expr] = {}
        for name in sorted(accesses(slot.node, owner).reads - {owner or ""}):
            kind = there.get(name, Kind.UNKNOWN)
            here = self.source.names(site, kind)
            if name in here or (kind is Kind.UNKNOWN and (name in self.source.module_names or name in BUILTINS)):
                continue
            if kind is Kind.UNKNOWN or not here:
                return None
            renaming[name] = expression(self.pick(here), site)
        new_owner = site.scope.owner
        if new_owner is None and any(isinstance(n, ast.Name) and n.id == owner for n in walk(slot.node)):
            return None
        renamed: ast.expr = _Renaming(renaming, owner, new_owner).visit(copy.deepcopy(slot.node))
        return renamed

    @cached_property
    def _results(self) -> list[Part]:
        sources = (self.source, *self.donors)
        return [(source, s) for source in sources for s in source.slots if isinstance(s.parent, ast.Return)]

    @cached_property
    def _ranges(self) -> list[int]:
        """Sizes of the ranges of returned values, where their form tells (``... % 3``, ``randrange(3)``)."""
        sizes = {
            range_size(node.value)
            for source in (self.source, *self.donors)
            for node in walk(source.tree)
            if isinstance(node, ast.Return) and node.value is not None
        }
        return sorted(size for size in sizes if size is not None)


class _Renaming(ast.NodeTransformer):
    """Replaces names, and attributes of ``owner``, in a copied expression."""

    def __init__(self, names: dict[str, ast.expr], owner: str | None, new_owner: str | None) -> None:
        self._names = names
        self._owner = owner
        self._new_owner = new_owner

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id == self._owner and self._new_owner is not None:
            return ast.Name(self._new_owner, node.ctx)
        return copy.deepcopy(self._names.get(node.id, node))

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        known = self._names.get(key_of(node, self._owner) or "")
        if known is not None:
            return copy.deepcopy(known)
        node.value = self.visit(node.value)
        return node


def expression(name: str, site: Site) -> ast.expr:
    """A name, or an attribute written ``self.NAME``, as the site's function reads it."""
    if name.startswith("self."):
        return ast.Attribute(ast.Name(site.scope.owner or "self", ast.Load()), name.removeprefix("self."), ast.Load())
    return ast.Name(name, ast.Load())
