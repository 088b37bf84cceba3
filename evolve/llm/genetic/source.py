"""A program as text and tree together: what may be changed, and changes that leave every other line as it was.

``ast.unparse`` forgets comments and layout, so only the statement that changed is written anew.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from evolve.llm.genetic.flow import Function, attribute_of, parameters, self_name, stored_names, walk
from evolve.llm.genetic.kinds import Environment, Kind, infer, kind_of
from evolve.llm.genetic.syntax import is_guard, size_of, subexpressions
from evolve.mutation import BLOCK_END, BLOCK_START
from evolve.program import parse

_FIXED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
_LARGEST_PART = 14


@dataclass(frozen=True)
class Scope:
    """A function and its class; both ``None`` at module level."""

    function: ast.FunctionDef | ast.AsyncFunctionDef | None = None
    cls: ast.ClassDef | None = None

    @property
    def owner(self) -> str | None:
        return self_name(self.function) if self.function is not None and self.cls is not None else None

    @property
    def name(self) -> str:
        return self.function.name if self.function is not None else ""


@dataclass(frozen=True, eq=False)
class Site:
    """A statement that may be changed. ``movable``: it stands on lines of its own and may be replaced as a whole."""

    statement: ast.stmt
    body: list[ast.stmt]
    scope: Scope
    movable: bool
    in_while: bool
    anchor: ast.stmt
    """The nearest statement around this one (or itself) that can be written anew."""
    header_end: int | None
    """Last line of a compound statement's head, if its body starts below it."""
    guarded: bool
    """A check of some length, ``if len(...) < n: return ...``, lies behind: lists are taken not to be empty here."""


@dataclass(frozen=True, eq=False)
class Slot:
    """An expression within a site, and where it hangs.

    ``exposed``: its value leaves the function as it is, so its range is not known from the outside.
    """

    site: Site
    node: ast.expr
    kind: Kind
    exposed: bool
    parent: ast.AST
    name: str
    index: int | None = None

    @property
    def is_index(self) -> bool:
        return self.name == "slice" and isinstance(self.parent, ast.Subscript)

    def put(self, node: ast.expr) -> None:
        if self.index is None:
            setattr(self.parent, self.name, node)
        else:
            getattr(self.parent, self.name)[self.index] = node


def parse_writable(text: str) -> ast.Module:
    """The syntax tree of a program that ``ast.unparse`` can write again.

    Raises ``SyntaxError``, ``ValueError`` (null bytes, or an integer longer than Python writes in decimal),
    ``RecursionError`` or ``MemoryError``."""
    tree = parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            str(node.value)
    return tree


@dataclass(eq=False)
class Source:
    """Parsed program text, and changed texts made from it. It stays as it is itself.

    Raises as :func:`parse_writable` if the text does not parse."""

    text: str
    tree: ast.Module = field(init=False)
    lines: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.tree = parse_writable(self.text)
        self.lines = self.text.splitlines()

    @cached_property
    def regions(self) -> list[tuple[int, int]]:
        """Line ranges (1-based, inclusive, without the marker lines) that may be changed; all, if none is marked."""
        found: list[tuple[int, int]] = []
        start = 0
        for number, line in enumerate(self.lines, 1):
            if line.strip() == BLOCK_START:
                start = number + 1
            elif line.strip() == BLOCK_END and start:
                found.append((start, number - 1))
                start = 0
        return found or [(1, len(self.lines))]

    @cached_property
    def module_names(self) -> set[str]:
        return stored_names(self.tree.body)

    @cached_property
    def sites(self) -> list[Site]:
        return list(self._sites(self.tree.body, Scope(), False, None))

    @cached_property
    def slots(self) -> list[Slot]:
        return [slot for site in self.sites for slot in self._slots(site)]

    @cached_property
    def parts(self) -> dict[Kind, list[Slot]]:
        """Expressions that can serve elsewhere: more than a name or a constant, and not too large."""
        found: dict[Kind, list[Slot]] = {kind: [] for kind in Kind}
        for slot in self.slots:
            if not isinstance(slot.node, ast.Name | ast.Constant) and size_of(slot.node) <= _LARGEST_PART:
                found[slot.kind].append(slot)
        return found

    @cached_property
    def _environments(self) -> dict[Scope, Environment]:
        module = infer([s for s in self.tree.body if not isinstance(s, _FIXED)], {}, None)
        found: dict[Scope, Environment] = {Scope(): module}
        for cls in [None, *(s for s in self.tree.body if isinstance(s, ast.ClassDef))]:
            functions = [s for s in (cls or self.tree).body if isinstance(s, Function)]
            shared = dict(module)
            for function in functions:
                scope = Scope(function, cls)
                inferred = infer(function.body, shared, scope.owner)
                shared |= {k: v for k, v in inferred.items() if k.startswith("self.")}
            for function in functions:
                scope = Scope(function, cls)
                found[scope] = infer(function.body, shared, scope.owner)
        return found

    def environment(self, scope: Scope) -> Environment:
        return self._environments.get(scope, {})

    def names(self, site: Site, kind: Kind) -> list[str]:
        """Names (and attributes, as ``self.NAME``) of that kind which are set where the site stands."""
        function = site.scope.function
        local: set[str] = set()
        if function is not None:
            local = parameters(function)
            local |= {name for name, line in self._first_lines(function).items() if line < site.statement.lineno}
        known = self.environment(site.scope)
        there = {n for n in known if function is None or n in local or n.startswith("self.")}
        return sorted(name for name in there if known[name] is kind)

    def _first_lines(self, function: Function) -> dict[str, int]:
        """Where each local name is first set."""
        if function not in self._lines_by_function:
            lines: dict[str, int] = {}
            for node in walk(function):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    lines[node.id] = min(node.lineno, lines.get(node.id, node.lineno))
            self._lines_by_function[function] = lines
        return self._lines_by_function[function]

    @cached_property
    def _lines_by_function(self) -> dict[Function, dict[str, int]]:
        return {}

    # Writing

    def substitute(self, slot: Slot, node: ast.expr) -> str:
        """Text with another expression in the slot."""
        slot.put(node)
        try:
            return self._rewritten(slot.site)
        finally:
            slot.put(slot.node)

    def _rewritten(self, site: Site) -> str:
        anchor = site.anchor
        if site.header_end is None:
            return self.splice(anchor.lineno, _end(anchor), self._written([anchor], anchor.col_offset))
        keyword = "el" if self._is_elif(anchor) else ""
        bare = copy.copy(anchor)
        for name, value in (("body", [ast.Pass()]), ("orelse", [])):
            if hasattr(bare, name):
                setattr(bare, name, value)
        header = (keyword + ast.unparse(ast.fix_missing_locations(bare))).splitlines()[:-1]
        indent = self.lines[anchor.lineno - 1][: anchor.col_offset]
        return self.splice(anchor.lineno, site.header_end, [indent + line for line in header])

    def replace(self, site: Site, statements: Sequence[ast.stmt]) -> str:
        """Text with other statements in the place of a movable one; a body is never left empty."""
        new = list(statements) or ([ast.Pass()] if len(site.body) == 1 else [])
        node = site.statement
        return self.splice(node.lineno, _end(node), self._written(new, node.col_offset))

    def insert(self, site: Site, statements: Sequence[ast.stmt], *, after: bool = False) -> str:
        line = _end(site.statement) + 1 if after else site.statement.lineno
        return self.splice(line, line - 1, self._written(statements, site.statement.col_offset))

    def splice(self, first: int, last: int, new: Sequence[str]) -> str:
        """Text with lines ``first..last`` (1-based, inclusive) replaced."""
        return "\n".join([*self.lines[: first - 1], *new, *self.lines[last:]]) + "\n"

    def _written(self, statements: Sequence[ast.stmt], indent: int) -> list[str]:
        written = (ast.unparse(ast.fix_missing_locations(s)).splitlines() for s in statements)
        return [" " * indent + line if line.strip() else "" for lines in written for line in lines]

    def _header_end(self, node: ast.stmt) -> int | None:
        body = getattr(node, "body", None)
        if not isinstance(node, ast.If | ast.For | ast.While | ast.With) or not body:
            return None
        heads = [n for name, n in ast.iter_fields(node) if isinstance(n, ast.expr)]
        if isinstance(node, ast.With):
            heads = [item.optional_vars or item.context_expr for item in node.items]
        last = max(head.end_lineno or head.lineno for head in heads)
        closed = self.lines[last - 1].partition("#")[0].rstrip().endswith(":")
        return last if closed and body[0].lineno > last else None

    # Reading

    def _sites(self, body: list[ast.stmt], scope: Scope, in_while: bool, anchor: ast.stmt | None) -> Iterator[Site]:
        for position, node in enumerate(body):
            own = self._on_own_lines(node)
            writable = node if own and self._editable(node) else anchor
            docstring = position == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if writable is not None and not docstring and not isinstance(node, _FIXED):
                header_end = self._header_end(node) if writable is node else None
                movable = own and not self._is_elif(node)
                guard = self._guard_end(scope)
                guarded = guard is not None and node.lineno > guard
                yield Site(node, body, scope, movable, in_while, writable, header_end, guarded)
            yield from self._inner_sites(node, scope, in_while, None if isinstance(node, _FIXED) else writable)

    def _inner_sites(self, node: ast.stmt, scope: Scope, in_while: bool, anchor: ast.stmt | None) -> Iterator[Site]:
        if isinstance(node, ast.ClassDef):
            scope = Scope(None, node) if scope == Scope() else scope
        elif isinstance(node, Function) and scope.function is None:
            scope = Scope(node, scope.cls)
        looping = in_while or isinstance(node, ast.While)
        for name in ("body", "orelse", "finalbody"):
            yield from self._sites(getattr(node, name, []), scope, looping, anchor)
        for handler in getattr(node, "handlers", []):
            yield from self._sites(handler.body, scope, looping, anchor)

    @cached_property
    def _guards(self) -> dict[Scope, int | None]:
        return {}

    def _guard_end(self, scope: Scope) -> int | None:
        if scope not in self._guards:
            body = scope.function.body if scope.function is not None else []
            self._guards[scope] = next((_end(node) for node in body if is_guard(node)), None)
        return self._guards[scope]

    def _editable(self, node: ast.stmt) -> bool:
        return any(first <= node.lineno and _end(node) <= last for first, last in self.regions)

    def _on_own_lines(self, node: ast.stmt) -> bool:
        before = self.lines[node.lineno - 1].encode()[: node.col_offset]
        after = self.lines[_end(node) - 1].encode()[node.end_col_offset :].strip()
        return not before.strip() and (not after or after.startswith(b"#"))

    def _is_elif(self, node: ast.stmt) -> bool:
        return isinstance(node, ast.If) and self.lines[node.lineno - 1].lstrip().startswith("elif")

    def _slots(self, site: Site) -> Iterator[Slot]:
        node = site.statement
        returned = isinstance(node, ast.Return)
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr) and name != "annotation":
                yield from self._expression(site, value, returned, node, name, None)
            elif name == "targets":
                for index, target in enumerate(value):
                    yield from self._expression(site, target, False, node, name, index)

    def _expression(
        self, site: Site, node: ast.expr, exposed: bool, parent: ast.AST, name: str, index: int | None
    ) -> Iterator[Slot]:
        owner = site.scope.owner
        if isinstance(node, ast.JoinedStr | ast.Lambda) or (isinstance(node, ast.Name) and node.id == owner):
            return
        text = isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        imported = isinstance(node, ast.Name) and node.id not in self.environment(site.scope)
        if isinstance(getattr(node, "ctx", ast.Load()), ast.Load) and not text and not imported:
            yield Slot(site, node, kind_of(node, self.environment(site.scope), owner), exposed, parent, name, index)
        if isinstance(node, ast.Attribute) and attribute_of(node, owner):
            return
        for child_name, child_index, child in subexpressions(node):
            passes_on = exposed and (
                (isinstance(node, ast.IfExp) and child_name != "test") or isinstance(node, ast.List | ast.Tuple)
            )
            yield from self._expression(site, child, passes_on, node, child_name, child_index)


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno
