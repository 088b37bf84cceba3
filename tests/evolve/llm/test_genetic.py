"""Mutation and crossover on source text: sound programs, nothing touched that must not be."""

from __future__ import annotations

import ast
import bisect
import heapq
import inspect
import textwrap

import numpy as np
import pytest

from evolve.llm.genetic.crossover import CROSSOVERS, graft, switch_by_condition, take_block, take_method
from evolve.llm.genetic.description import describe
from evolve.llm.genetic.flow import problems
from evolve.llm.genetic.kinds import Kind
from evolve.llm.genetic.operators import MUTATIONS, Operator
from evolve.llm.genetic.parts import Workshop
from evolve.llm.genetic.source import Source
from evolve.llm.genetic.variation import parse, vary
from evolve.mutation import split_blocks
from evolve.program import Program

PARENT = '''\
import random


class Policy:
    """Says what it does: it counts."""

    def __init__(self, player, seed):
        self.rng = random.Random(seed)
        # EVOLVE-BLOCK-START
        self.total = 0  # how much was seen
        # EVOLVE-BLOCK-END

    def act(self, observation):
        theirs = observation["opponent_actions"]
        # EVOLVE-BLOCK-START
        # a short history says nothing
        if not theirs:
            return self.rng.randrange(3)
        last = theirs[-1]
        self.total += last
        if last > 1 and self.total % 2 == 0:
            # the comment of a branch
            guess = last + 1
        elif last == 1:
            guess = 0
        else:
            guess = self.total - last
        return guess % 3
        # EVOLVE-BLOCK-END
'''

DONOR = '''\
import random


class Policy:
    """Another one."""

    def __init__(self, player, seed):
        self.rng = random.Random(seed)
        # EVOLVE-BLOCK-START
        self.window = [0, 0, 0]
        # EVOLVE-BLOCK-END

    def act(self, observation):
        theirs = observation["opponent_actions"]
        # EVOLVE-BLOCK-START
        if len(theirs) < 2:
            return 0
        self.window = self.window[1:] + [theirs[-1]]
        return max(self.window) % 3
        # EVOLVE-BLOCK-END
'''

PLAIN = '''\
def helper(values):
    return sum(values) % 2


def policy(history):
    if len(history) < 3:
        return 0
    first = history[-1]
    second = history[-2]
    return first if helper(history) else second
'''


def workshop(seed: int, parent: str = PARENT, *donors: str) -> Workshop:
    return Workshop(Source(parent), [Source(donor) for donor in donors], np.random.default_rng(seed))


def children(operator: Operator, parent: str = PARENT, *donors: str, count: int = 60) -> list[str]:
    made = (operator(workshop(seed, parent, *donors)) for seed in range(count))
    return [text for text in made if text is not None]


@pytest.mark.parametrize("operator", [*MUTATIONS, *CROSSOVERS], ids=lambda operator: operator.__name__)
def test_each_operator_finds_something_to_do_and_keeps_to_the_blocks(operator: Operator) -> None:
    outside = split_blocks(PARENT)[0]
    made = children(operator, PARENT, DONOR)
    for child in made:
        ast.parse(child)
        assert split_blocks(child)[0] == outside
    if operator is take_method:  # a method that reaches beyond the blocks is never taken
        assert not made
    else:
        assert any(Program(child).id != Program(PARENT).id for child in made)


@pytest.mark.parametrize("operator", list(MUTATIONS), ids=lambda operator: operator.__name__)
def test_operators_leave_the_program_they_start_from_as_it_was(operator: Operator) -> None:
    for seed in range(20):
        shop = workshop(seed, PARENT, DONOR)
        before = ast.dump(shop.source.tree), ast.dump(shop.donors[0].tree)
        operator(shop)
        assert (ast.dump(shop.source.tree), ast.dump(shop.donors[0].tree)) == before


def test_comments_and_docstrings_survive_next_to_a_change() -> None:
    """Only the changed statement is written anew: of a compound one only its head."""
    source = Source(PARENT)
    slot = next(s for s in source.slots if isinstance(s.parent, ast.If) and isinstance(s.node, ast.BoolOp))
    child = source.substitute(slot, ast.Name("last", ast.Load()))
    removed = set(PARENT.splitlines()) - set(child.splitlines())
    assert removed == {"        if last > 1 and self.total % 2 == 0:"}
    elif_slot = next(s for s in source.slots if isinstance(s.parent, ast.If) and ast.unparse(s.node) == "last == 1")
    assert "        elif last:\n" in source.substitute(elif_slot, ast.Name("last", ast.Load()))
    assert Source(PARENT).text == source.text


def test_statements_that_share_a_line_are_written_with_what_encloses_them() -> None:
    source = Source("def policy(x):\n    if x: return 1; y = 2\n    return 0\n")
    (slot,) = [s for s in source.slots if isinstance(s.node, ast.Constant) and s.node.value == 1]
    child = source.substitute(slot, ast.Constant(5))
    assert ast.unparse(ast.parse(child)) == ast.unparse(ast.parse(source.text.replace("return 1", "return 5")))
    assert not any(site.movable for site in source.sites if isinstance(site.statement, ast.Assign))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("return x", set()),
        ("return y", {"policy: y may not be set"}),
        ("y = y + 1\nreturn y", {"policy: y may not be set"}),
        ("y += 1\nreturn y", {"policy: y may not be set"}),
        ("if x:\n    y = 1\nreturn y", {"policy: y may not be set"}),
        ("if x:\n    y = 1\nelse:\n    y = 2\nreturn y", set()),
        ("if x:\n    return 0\nelse:\n    y = 2\nreturn y", set()),
        ("for y in x:\n    pass\nreturn y", {"policy: y may not be set"}),
        ("while True:\n    y = 1\n    if y:\n        return y", set()),
        ("if x:\n    return 1", {"policy: may end without a value"}),
        ("pass", {"policy: returns nothing"}),
        ("return [z for z in x]", set()),
        ("return sorted(x, key=lambda v: v)", set()),
        ("if (n := len(x)) > 1:\n    return n\nreturn n", set()),
        ("try:\n    y = 1\nexcept ValueError as e:\n    raise\nreturn y", set()),
        ("with x as y:\n    return y", set()),
        ("match x:\n    case [a, *_]:\n        return a", {"policy: may end without a value"}),
        ("def inner():\n    return x\nreturn inner()", set()),
        ("return math.pi", set()),
        ("return maths.pi", {"policy: maths may not be set"}),
        ("raise ValueError(x)", {"policy: returns nothing"}),
    ],
)
def test_names_that_may_not_be_set_are_found(body: str, found: set[str]) -> None:
    text = "import math\ndef policy(x):\n" + textwrap.indent(body, "    ")
    assert problems(ast.parse(text)) == found


def test_attributes_that_the_constructor_does_not_set_are_found() -> None:
    text = PARENT.replace("self.total = 0", "pass")
    assert problems(ast.parse(PARENT)) == {"Policy.__init__: returns nothing"}
    assert problems(ast.parse(text)) - problems(ast.parse(PARENT)) == {"Policy.act: self.total may not be set"}


def test_kinds_are_guessed_from_syntax_and_use() -> None:
    source = Source(PARENT)
    site = source.sites[-1]
    assert source.names(site, Kind.NUMBER) == ["guess", "last", "self.total"]
    assert source.names(site, Kind.SEQUENCE) == ["theirs"]
    assert source.names(site, Kind.MAPPING) == ["observation"]


def test_crossover_brings_the_state_that_the_taken_code_needs() -> None:
    taken = [text for text in children(take_block, PARENT, DONOR) if "self.window[1:]" in text]
    assert taken
    for child in taken:
        assert "self.window = [0, 0, 0]" in split_blocks(child)[1][0][-1]
        assert problems(ast.parse(child)) == problems(ast.parse(PARENT))
    switched = children(switch_by_condition, PARENT, DONOR)
    assert any("self.window = [0, 0, 0]" in child and "guess % 3" in child for child in switched)


def test_a_whole_function_is_taken_where_the_whole_program_may_change() -> None:
    donor = PLAIN.replace("% 2", "% 7")
    assert Program(donor).id in {Program(child).id for child in children(take_method, PLAIN, donor)}


def test_a_graft_that_cannot_be_made_is_refused() -> None:
    child = PARENT.replace("guess = 0", "guess = self.nowhere")
    assert graft(child, Source(PARENT), Source(DONOR)) is None


def test_grafts_bring_helpers_and_imports_where_the_whole_program_may_change() -> None:
    donor = "import math\n\n\ndef far(x):\n    return math.floor(x)\n\n\n" + PLAIN
    child = PLAIN.replace("second = history[-2]", "second = far(history[-2])")
    grafted = graft(child, Source(PLAIN), Source(donor))
    assert grafted is not None
    assert problems(ast.parse(grafted)) == problems(ast.parse(PLAIN))
    assert "import math" in grafted


@pytest.mark.parametrize("module", [bisect, heapq, textwrap], ids=lambda module: module.__name__)
def test_any_program_has_sound_children(module: object) -> None:
    """Real code, not written for this: every child compiles, has no new problem, and keeps the docstrings."""
    source = Source(inspect.getsource(module))  # type: ignore[arg-type]
    allowed = problems(source.tree)
    for seed in range(6):
        child = vary(source, [Source(PLAIN)], np.random.default_rng(seed))
        assert child is not None
        compile(child, "<child>", "exec")
        assert problems(ast.parse(child)) <= allowed
        assert ast.get_docstring(ast.parse(child)) == ast.get_docstring(source.tree)


def test_a_program_with_nothing_to_change_has_no_child() -> None:
    assert vary(Source('"""Only words."""\n'), [], np.random.default_rng(0)) is None


def test_a_number_too_long_to_write_is_no_program_to_vary() -> None:
    """A hexadecimal text is read at any length, but neither ``repr`` nor ``ast.unparse`` writes the number."""
    text = f"def policy(observation):\n    return 0x{'f' * 6000} % 3\n"
    assert compile(text, "<text>", "exec")
    assert parse(text) is None
    assert "no Python program" in describe(text)
    assert Program(text).id == Program(text + "\n").id
