"""Crossover operators: blocks, methods and statements of another program, with the state and the helpers they need."""

from __future__ import annotations

import ast
import textwrap

from evolve.llm.genetic.flow import Function, problems
from evolve.llm.genetic.operators import Operator
from evolve.llm.genetic.parts import Workshop
from evolve.llm.genetic.source import Scope, Site, Source

_MOST_GRAFTS = 8


def take_block(shop: Workshop) -> str | None:
    """One EVOLVE-BLOCK of a donor in the place of ours, where both have the same number of them, two or more."""
    donor = _donor(shop)
    if donor is None or len(donor.regions) != len(shop.source.regions) or len(donor.regions) < 2:
        return None
    index = int(shop.rng.integers(len(donor.regions)))
    (first, last), (donor_first, donor_last) = shop.source.regions[index], donor.regions[index]
    child = shop.source.splice(first, last, donor.lines[donor_first - 1 : donor_last])
    return graft(child, shop.source, donor)


def take_method(shop: Workshop) -> str | None:
    """A donor's function in the place of ours of the same name."""
    donor = _donor(shop)
    if donor is None:
        return None
    theirs = {scope.name: scope for scope in _functions(donor)}
    ours = [s for s in _functions(shop.source) if s.name in theirs and _is_editable(shop.source, s)]
    if not ours:
        return None
    old, new = shop.pick(ours).function, None
    assert old is not None
    new = theirs[old.name].function
    assert new is not None
    child = shop.source.splice(old.lineno, old.end_lineno or old.lineno, _lines(donor, new, old.col_offset))
    return graft(child, shop.source, donor)


def take_statement(shop: Workshop) -> str | None:
    """A donor's statement, put beside or in the place of one of ours in a function of the same name."""
    donor = _donor(shop)
    if donor is None:
        return None
    places = [s for s in shop.source.sites if s.movable and s.guarded and not s.in_while]
    if not places:
        return None
    place = shop.pick(places)
    offered = [s for s in donor.sites if s.movable and s.scope.name == place.scope.name]
    if not offered:
        return None
    lines = _lines(donor, shop.pick(offered).statement, place.statement.col_offset)
    first, last = place.statement.lineno, place.statement.end_lineno or place.statement.lineno
    kept = shop.source.lines[first - 1 : last]
    replaced = ([*lines, *kept], [*kept, *lines], lines)[int(shop.rng.integers(3))]
    return graft(shop.source.splice(first, last, replaced), shop.source, donor)


def switch_by_condition(shop: Workshop) -> str | None:
    """Does what a donor's function does if a condition holds, else what ours does."""
    donor = _donor(shop)
    if donor is None:
        return None
    places = [s for s in shop.source.sites if s.movable and s.guarded and _is_top_level(s)]
    if not places:
        return None
    place = shop.pick(places)
    body = [s for s in donor.sites if s.movable and _is_top_level(s) and s.scope.name == place.scope.name]
    test = shop.truth(place)
    if not body or test is None:
        return None
    indent = place.statement.col_offset
    lines = [line for site in body for line in _lines(donor, site.statement, indent + 4)]
    head = " " * indent + ast.unparse(ast.If(test, [ast.Pass()], [])).splitlines()[0]
    line = place.statement.lineno
    return graft(shop.source.splice(line, line - 1, [head, *lines]), shop.source, donor)


def graft(child: str, parent: Source, donor: Source) -> str | None:
    """Brings in what the taken code needs: attributes from the donor's constructor, helper methods, imports.

    ``None`` if something is missing that cannot be had."""
    known = problems(parent.tree)
    for _ in range(_MOST_GRAFTS):
        try:
            source = Source(child)
        except SyntaxError:
            return None
        missing = sorted(problem for problem in problems(source.tree) - known if problem.endswith(" may not be set"))
        if not missing:
            return child
        name = missing[0].split(": ", 1)[1].removesuffix(" may not be set")
        is_attribute = name.startswith("self.")
        grafted = _graft_attribute(source, donor, name[5:]) if is_attribute else _graft_name(source, donor, name)
        if grafted is None:
            return None
        child = grafted
    return None


def _graft_attribute(source: Source, donor: Source, name: str) -> str | None:
    for scope in _functions(donor):
        assert scope.function is not None
        if scope.cls is not None and scope.name == name:
            return _append_method(source, donor, scope)
    assignments = [s for s in donor.sites if s.scope.name == "__init__" and _is_top_level(s) and _assigns(s, name)]
    ours = [s for s in source.sites if s.movable and s.scope.name == "__init__" and _is_top_level(s)]
    if not assignments or not ours:
        return None
    last = ours[-1].statement
    line = (last.end_lineno or last.lineno) + 1
    return source.splice(line, line - 1, _lines(donor, assignments[-1].statement, last.col_offset))


def _append_method(source: Source, donor: Source, scope: Scope) -> str | None:
    ours = [s for s in _functions(source) if s.cls is not None and _is_editable(source, s)]
    if not ours or scope.function is None or ours[-1].function is None:
        return None
    line = (ours[-1].function.end_lineno or 0) + 1
    return source.splice(line, line - 1, ["", *_lines(donor, scope.function, ours[-1].function.col_offset)])


def _graft_name(source: Source, donor: Source, name: str) -> str | None:
    if source.regions != [(1, len(source.lines))]:
        return None  # with markers, the head of the module is not ours to change
    for statement in donor.tree.body:
        if name in Source(ast.unparse(statement)).module_names:
            line = next((s.lineno for s in source.tree.body if not _is_docstring(s)), 1)
            return source.splice(line, line - 1, _lines(donor, statement, 0))
    return None


def _donor(shop: Workshop) -> Source | None:
    return shop.pick(shop.donors) if shop.donors else None


def _functions(source: Source) -> list[Scope]:
    found = [Scope(node) for node in source.tree.body if isinstance(node, Function)]
    for cls in source.tree.body:
        if isinstance(cls, ast.ClassDef):
            found += [Scope(node, cls) for node in cls.body if isinstance(node, Function)]
    return found


def _is_editable(source: Source, scope: Scope) -> bool:
    node = scope.function
    assert node is not None
    return any(first <= node.lineno and (node.end_lineno or 0) <= last for first, last in source.regions)


def _is_top_level(site: Site) -> bool:
    return site.scope.function is not None and site.body is site.scope.function.body


def _assigns(site: Site, attribute: str) -> bool:
    return any(
        isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and n.attr == attribute
        for n in ast.walk(site.statement)
    )


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _lines(source: Source, node: ast.stmt, indent: int) -> list[str]:
    """The node's lines as they stand in its program, moved to another indentation."""
    text = "\n".join(source.lines[node.lineno - 1 : node.end_lineno])
    return textwrap.indent(textwrap.dedent(text), " " * indent).splitlines()


CROSSOVERS: dict[Operator, float] = {
    take_block: 2.0,
    take_method: 1.0,
    take_statement: 1.0,
    switch_by_condition: 1.0,
}
"""Operators and their relative frequencies, where the prompt holds other programs."""
