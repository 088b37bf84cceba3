"""Can N matches of a program share one copy of its module? Only if it keeps all state in its own instances.

N copies of a module are N sets of code objects and inline caches, which crowd each other out of the processor's
caches and take most of the loading time. This analysis finds, from the source alone, the many programs for which
one copy gives the same moves: no assignment reaches anything that outlives a match. It refuses whatever it does
not understand, and depends on nothing but the source, so a program is treated the same at N = 1 and N = 64.
It guards against accidents; a program that tells its matches apart on purpose is for :mod:`sandbox.audit`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import TypeGuard

_MODULES = frozenset(
    {
        "__future__", "abc", "bisect", "cmath", "collections", "collections.abc", "copy", "dataclasses", "enum",
        "fractions", "functools", "heapq", "itertools", "json", "math", "numpy", "numpy.linalg", "numpy.random",
        "operator", "random", "re", "statistics", "string", "typing",
    }
)  # fmt: skip
# Of modules with hidden state, what may be used; of the others, everything but _STATEFUL.
_ONLY = {
    "random": frozenset({"Random"}),
    "numpy.random": frozenset({"default_rng", "Generator", "RandomState"}),
    "functools": frozenset({"reduce", "partial", "cmp_to_key"}),
}
_STATEFUL = frozenset(
    {"seterr", "seterrcall", "errstate", "setbufsize", "set_printoptions", "printoptions", "register"}
)
_BANNED_NAMES = frozenset(
    {
        "breakpoint", "compile", "delattr", "eval", "exec", "getattr", "globals", "input", "locals", "memoryview",
        "open", "setattr", "vars",
    }
)  # fmt: skip
_PLAIN_DUNDERS = frozenset({"__init__", "__post_init__", "__name__"})
_READING_FUNCTIONS = frozenset(
    {
        "all", "any", "dict", "enumerate", "frozenset", "len", "list", "max", "min", "set", "sorted", "sum",
        "tuple", "zip",
    }
)  # fmt: skip
_READING_METHODS = frozenset({"get", "items", "keys", "values", "index", "count", "copy"})
_CONSTANT_CALLS = frozenset({"frozenset", "tuple", "range", "len", "int", "float", "auto"})
_DECORATORS = frozenset({"dataclass", "staticmethod", "property", "abstractmethod"})
_FACTORIES = frozenset({"list", "dict", "set", "int", "float", "Counter", "deque", "OrderedDict"})
_FUNCTIONS = (ast.FunctionDef, ast.Lambda)


class _Refused(Exception):  # noqa: N818  the analysis's way of saying no
    pass


def keeps_state_in_instances(source: str) -> bool:
    """Whether one copy of the module can serve all matches. ``SyntaxError`` and its like are left to the compiler."""
    tree = ast.parse(source)
    try:
        _Analysis(tree).module()
    except _Refused:
        return False
    return True


def _require(condition: object) -> None:
    if not condition:
        raise _Refused


class _Analysis:
    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._parent = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self._constants: set[str] = set()
        self._tables: set[str] = set()  # flat lists, dicts and sets of constants, which nothing may change
        self._outer: set[str] = set()  # every module-level name
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
        self._aliases = {alias.asname or alias.name: alias.name for node in imports for alias in node.names}

    def module(self) -> None:
        definitions = []
        for statement in self._tree.body:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                self._outer.add(statement.name)
                definitions.append(statement)
            else:
                self._statement(statement)
        for definition in definitions:
            if isinstance(definition, ast.ClassDef):
                self._class(definition)
            else:
                self._function(definition, None)
        for node in ast.walk(self._tree):
            self._anywhere(node)

    def _statement(self, node: ast.stmt) -> None:
        """A statement at the top of the module that is no definition."""
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets: list[ast.expr] = list(node.targets) if isinstance(node, ast.Assign) else [node.target]
            flat = [item for t in targets for item in (t.elts if isinstance(t, ast.Tuple) else [t])]
            names = [target.id for target in flat if isinstance(target, ast.Name)]
            _require(len(names) == len(flat) and not self._outer & set(names))
            self._outer |= set(names)
            if node.value is not None:
                (self._tables if self._is_table(node.value) else self._constants).update(names)
                _require(self._is_table(node.value) or self._is_constant(node.value))
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            _require(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))

    # -- values --------------------------------------------------------------------------------------------------
    def _is_constant(self, node: ast.expr | None) -> bool:
        """An expression whose value nobody can change."""
        constant = node is None or isinstance(node, ast.Constant)
        match node:
            case ast.Name(id=name):
                constant = name in self._constants
            case ast.Tuple(elts=items):
                constant = all(map(self._is_constant, items))
            case ast.UnaryOp(operand=operand):
                constant = self._is_constant(operand)
            case ast.BinOp(left=left, right=right):
                constant = self._is_constant(left) and self._is_constant(right)
            case ast.Call(func=ast.Name(id=name), args=values, keywords=[]):
                constant = name in _CONSTANT_CALLS and all(self._is_constant(v) or self._is_table(v) for v in values)
        return constant

    def _is_table(self, node: ast.expr) -> bool:
        match node:
            case ast.List(elts=items) | ast.Set(elts=items):
                return all(map(self._is_constant, items))
            case ast.Dict(keys=keys, values=values):
                return None not in keys and all(map(self._is_constant, [*keys, *values]))
        return False

    # -- definitions ---------------------------------------------------------------------------------------------
    def _class(self, node: ast.ClassDef) -> None:
        _require(not node.keywords and all(map(_is_name, node.bases)))
        self._decorators(node.decorator_list)
        bases = {base.id if isinstance(base, ast.Name) else base.attr for base in node.bases if _is_name(base)}
        members = any(base.endswith(("Enum", "Flag")) for base in bases)  # its instances outlive a match
        _require(not (members and bases & self._outer))
        for statement in node.body:
            match statement:
                case ast.FunctionDef():
                    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in statement.decorator_list)
                    arguments = statement.args.posonlyargs + statement.args.args
                    _require(statement.name not in ("__new__", "__init_subclass__", "__class_getitem__"))
                    self._function(statement, None if static or members or not arguments else arguments[0].arg)
                case ast.Assign(value=value) | ast.AnnAssign(value=value):
                    _require(self._is_constant(value) or _is_field(value))
                case _:
                    _require(isinstance(statement, ast.Pass) or _is_docstring(statement))

    def _decorators(self, decorators: Iterable[ast.expr]) -> None:
        for decorator in decorators:
            name = decorator.func if isinstance(decorator, ast.Call) else decorator
            _require(isinstance(name, ast.Name) and name.id in _DECORATORS)

    def _function(self, node: ast.FunctionDef | ast.Lambda, own: str | None) -> None:
        """``own`` names the parameter that holds the instance, the only thing whose attributes may be set."""
        if isinstance(node, ast.FunctionDef):
            self._decorators(node.decorator_list)
        _require(all(map(self._is_constant, [*node.args.defaults, *node.args.kw_defaults])))
        body = node.body if isinstance(node, ast.FunctionDef) else [node.body]
        for statement in body:
            self._inside(statement, own)

    def _inside(self, node: ast.AST, own: str | None) -> None:
        if isinstance(node, _FUNCTIONS):
            named = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
            self._function(node, None if own in named else own)
            return
        _require(not isinstance(node, ast.Global | ast.ClassDef | ast.AsyncFunctionDef | ast.Await))
        if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            self._store(node, own)
        for child in ast.iter_child_nodes(node):
            self._inside(child, own)

    def _store(self, node: ast.AST, own: str | None) -> None:
        match node:
            case ast.Name(id=name):
                _require(name != own)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                _require(name == own and not attribute.startswith("__"))
            case ast.Subscript():
                root: ast.AST = node
                while isinstance(root, ast.Subscript | ast.Attribute):
                    root = root.value
                _require(not (isinstance(root, ast.Name) and root.id in self._outer))
            case _:
                _require(isinstance(node, ast.Tuple | ast.List | ast.Starred))

    # -- everywhere ----------------------------------------------------------------------------------------------
    def _anywhere(self, node: ast.AST) -> None:
        match node:
            case ast.Import(names=names):
                _require(all(a.name in _MODULES and (a.asname or "." not in a.name) for a in names))
            case ast.ImportFrom(module=module, names=names, level=level):
                _require(level == 0 and module in _MODULES)
                for alias in names:
                    _require(self._may_use(module or "", alias.name) and f"{module}.{alias.name}" not in _MODULES)
            case ast.Name(id=name):
                _require(name not in _BANNED_NAMES and (not name.startswith("__") or name in _PLAIN_DUNDERS))
                if name in self._tables and isinstance(node.ctx, ast.Load):
                    _require(self._only_read(node))
                self._alias_use(node)
            case ast.Attribute(attr=attribute):
                _require(not attribute.startswith("__") or attribute in _PLAIN_DUNDERS)
                _require(attribute not in _STATEFUL and attribute != "samples")
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[], keywords=[]):
                _require(name not in ("Random", "RandomState", "default_rng", "seed"))  # unseeded

    @staticmethod
    def _may_use(module: str, name: str) -> bool:
        return name != "*" and name not in _STATEFUL and name in _ONLY.get(module, frozenset({name}))

    def _alias_use(self, node: ast.Name) -> None:
        """A module's name may only stand before a dot, and before an attribute that may be used."""
        imported = self._aliases.get(node.id)
        if imported is None:
            return
        parent = self._parent[node]
        _require(isinstance(parent, ast.Attribute))
        if isinstance(parent, ast.Attribute):
            if f"{imported}.{parent.attr}" == "numpy.random":
                outer = self._parent[parent]
                _require(isinstance(outer, ast.Attribute) and self._may_use("numpy.random", outer.attr))
            else:
                _require(self._may_use(imported, parent.attr))

    def _only_read(self, node: ast.Name) -> bool:
        """Whether this use of a table can neither change it nor hand it on."""
        parent = self._parent[node]
        match parent:
            case ast.Subscript(value=value, ctx=ast.Load()):
                return value is node
            case ast.For(iter=iterated) | ast.comprehension(iter=iterated):
                return iterated is node
            case ast.Compare():
                return True
            case ast.Call(func=ast.Name(id=name)):
                return name in _READING_FUNCTIONS and name not in self._outer
            case ast.Attribute(attr=attribute):
                called = self._parent[parent]
                return attribute in _READING_METHODS and isinstance(called, ast.Call) and called.func is parent
        return False


def _is_name(node: ast.expr) -> TypeGuard[ast.Name | ast.Attribute]:
    return isinstance(node, ast.Name | ast.Attribute)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_field(node: ast.expr | None) -> bool:
    """``field(default_factory=list)`` and the like, in a dataclass."""
    match node:
        case ast.Call(func=ast.Name(id="field"), args=[], keywords=[ast.keyword("default_factory", ast.Name(id=name))]):
            return name in _FACTORIES
    return False
