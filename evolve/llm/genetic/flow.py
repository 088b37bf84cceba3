"""A light static check: names that may be read before they are set, functions that may end without a value.

It errs on the side of reporting. A mutation is accepted when it adds no problem that its parent did not have.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

BUILTINS = frozenset(dir(builtins)) | {"__name__"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
_NESTED_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def problems(tree: ast.Module) -> frozenset[str]:
    """What may go wrong with names in this module, one line each; equal lines for equal problems of two programs."""
    found: set[str] = set()
    module_names = stored_names(tree.body)
    _Flow("module", None, module_names, module_names, found).block(tree.body, set())
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            _check_class(statement, module_names, found)
        elif isinstance(statement, Function):
            _check_function(statement, statement.name, None, module_names, set(), found)
    return frozenset(found)


def self_name(function: Function) -> str | None:
    """The name of a method's first parameter."""
    return function.args.args[0].arg if function.args.args else None


def parameters(function: Function) -> set[str]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg for argument in every if argument is not None}


def stored_names(statements: Iterable[ast.AST]) -> set[str]:
    """Names that these statements bind in their own scope."""
    names: set[str] = set()
    for node in _own_nodes(statements):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names.add(node.name)
    return names


def attribute_of(node: ast.AST, owner: str | None) -> bool:
    """Is this ``owner.NAME``?"""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == owner


def walk(root: ast.AST) -> Iterator[ast.AST]:
    """Like ``ast.walk``, in another order and without the contexts of names; several times faster."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        _push_children(stack, node)


def _own_nodes(statements: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Walks without entering functions, classes and comprehensions; these themselves are yielded."""
    stack = list(statements)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, _NESTED_SCOPES + _COMPREHENSIONS):
            _push_children(stack, node)


def _push_children(stack: list[ast.AST], node: ast.AST) -> None:
    for name in node._fields:
        if name != "ctx":
            value = getattr(node, name, None)
            if isinstance(value, list):
                stack.extend(item for item in value if isinstance(item, ast.AST))
            elif isinstance(value, ast.AST):
                stack.append(value)


@dataclass
class Accesses:
    """Names that an expression or a simple statement reads from outside itself, and those it sets.

    Attributes of the method's owner count as names, written ``self.NAME``."""

    reads: set[str] = field(default_factory=set)
    stores: set[str] = field(default_factory=set)


def accesses(root: ast.AST, owner: str | None) -> Accesses:
    found, inner = Accesses(), set[str]()
    for node in walk(root):
        if isinstance(node, ast.Name):
            (found.reads if isinstance(node.ctx, ast.Load) else found.stores).add(node.id)
        elif isinstance(node, ast.Attribute):
            if attribute_of(node, owner):
                (found.reads if isinstance(node.ctx, ast.Load) else found.stores).add(f"self.{node.attr}")
        elif isinstance(node, ast.comprehension):
            inner |= {name.id for name in walk(node.target) if isinstance(name, ast.Name)}
        elif isinstance(node, ast.Lambda):
            inner |= {argument.arg for argument in node.args.args}
        elif isinstance(node, ast.NamedExpr):
            inner.add(node.target.id)
            found.stores.add(node.target.id)
        elif isinstance(node, ast.AugAssign):
            found.reads |= accesses(node.target, owner).stores
    found.reads -= inner
    return found


def _check_class(node: ast.ClassDef, outer: set[str], found: set[str]) -> None:
    methods = [s for s in node.body if isinstance(s, Function)]
    attributes = {f"self.{name}" for name in stored_names(node.body)}
    for method in methods:
        if method.name == "__init__":
            after = _check_function(method, f"{node.name}.__init__", self_name(method), outer, attributes, found)
            attributes |= {name for name in after if name.startswith("self.")}
    for method in methods:
        if method.name != "__init__":
            owner = None if method.decorator_list else self_name(method)
            _check_function(method, f"{node.name}.{method.name}", owner, outer, attributes, found)


def _check_function(
    node: Function, where: str, owner: str | None, outer: set[str], attributes: set[str], found: set[str]
) -> set[str]:
    own = list(_own_nodes(node.body))
    local = parameters(node) | stored_names(node.body)
    after = _Flow(where, owner, local, outer, found).block(node.body, parameters(node) | attributes)
    yields = any(isinstance(n, ast.Yield | ast.YieldFrom) for n in own)
    if not yields and not any(isinstance(n, ast.Return) and n.value is not None for n in own):
        found.add(f"{where}: returns nothing")
    elif not yields and after is not None:
        found.add(f"{where}: may end without a value")
    for nested in own:
        if isinstance(nested, Function):
            _check_function(nested, f"{where}.{nested.name}", owner, outer | local, attributes, found)
    return after or set()


class _Flow:
    """Definite assignment in one scope. ``block`` returns what is set after it, ``None`` if that is never reached."""

    def __init__(self, where: str, owner: str | None, local: set[str], outer: set[str], found: set[str]) -> None:
        self._where = where
        self._owner = owner
        self._local = local
        self._outer = outer
        self._found = found

    def block(self, statements: Sequence[ast.stmt], bound: set[str]) -> set[str] | None:
        current: set[str] | None = bound
        for statement in statements:
            if current is None:
                return None  # unreachable code needs no names
            current = self._statement(statement, current)
        return current

    def _statement(self, node: ast.stmt, bound: set[str]) -> set[str] | None:
        after: set[str] | None
        match node:
            case ast.If():
                bound = self._expression(node.test, bound)
                after = _merge(self.block(node.body, set(bound)), self.block(node.orelse, set(bound)))
            case ast.For() | ast.AsyncFor() | ast.While():
                after = self._loop(node, bound)
            case ast.Try():
                after = self._try(node, bound)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    bound = self._expression(item, bound)
                after = self.block(node.body, bound)
            case ast.Match():
                bound = self._expression(node.subject, bound)
                ends = [self.block(case.body, bound | stored_names([case.pattern])) for case in node.cases]
                after = _merge(set(bound), *ends)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
                after = bound | stored_names([node])
            case ast.Return() | ast.Raise() | ast.Continue() | ast.Break():
                self._expression(node, bound)
                after = None
            case ast.AnnAssign(value=None):
                after = bound
            case _:
                after = self._expression(node, bound)
        return after

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, bound: set[str]) -> set[str] | None:
        if isinstance(node, ast.While):
            bound = self._expression(node.test, bound)
            self.block(node.body, set(bound))
            endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
            if endless and not any(isinstance(n, ast.Break) for n in _own_nodes(node.body)):
                return None
        else:
            bound = self._expression(node.iter, bound)
            self.block(node.body, bound | accesses(node.target, self._owner).stores)
        return self.block(node.orelse, set(bound))

    def _try(self, node: ast.Try, bound: set[str]) -> set[str] | None:
        done = self.block(node.body, set(bound))
        if done is not None:
            done = self.block(node.orelse, done)
        ends = [self.block(h.body, bound | ({h.name} if h.name else set())) for h in node.handlers]
        after = _merge(done, *ends)
        final = self.block(node.finalbody, set(bound))
        return None if after is None or final is None else after | final

    def _expression(self, node: ast.AST, bound: set[str]) -> set[str]:
        """Notes what an expression or simple statement reads without its being set; returns what is set after it."""
        access = accesses(node, self._owner)
        for name in access.reads - bound:
            if name in self._local or name.startswith("self.") or not (name in self._outer or name in BUILTINS):
                self._found.add(f"{self._where}: {name} may not be set")
        return bound | access.stores


def _merge(*ends: set[str] | None) -> set[str] | None:
    """What is set whichever way control came; ``None`` if no way leads here."""
    reached = [end for end in ends if end is not None]
    return set.intersection(*reached) if reached else None
