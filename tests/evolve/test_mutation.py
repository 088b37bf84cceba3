"""Edits: what applies, and each way an answer can be wrong."""

import pytest

from evolve.mutation import (
    EditFaultError,
    apply_edits,
    extract_code,
    full_rewrite,
    join_blocks,
    parse_edits,
    split_blocks,
)
from evolve.program import Program

PARENT = Program(
    """import random

class Policy:
    def __init__(self, player, seed):
        self.rng = random.Random(seed)

    def act(self, observation):
        # EVOLVE-BLOCK-START
        a = 1
        b = 2
        if a:
            return 0
        # EVOLVE-BLOCK-END
        return 2
"""
)


def edit(search: str, replace: str) -> str:
    return f"Some words.\n<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE\n"


def test_edit_replaces_one_place() -> None:
    child = apply_edits(PARENT, edit("        b = 2", "        b = 3"))
    assert "b = 3" in child.source
    assert "b = 2" not in child.source
    assert "EVOLVE-BLOCK-END" in child.source


def test_edit_tolerates_missing_indentation_and_restores_it() -> None:
    child = apply_edits(PARENT, edit("if a:\n    return 0", "if b:\n    return 1"))
    assert "        if b:\n            return 1\n" in child.source


def test_several_edits_apply_in_order() -> None:
    child = apply_edits(PARENT, edit("        a = 1", "        a = 5") + edit("        a = 5", "        a = 6"))
    assert "a = 6" in child.source


def test_empty_replacement_deletes() -> None:
    child = apply_edits(PARENT, "<<<<<<< SEARCH\n        b = 2\n=======\n>>>>>>> REPLACE")
    assert "b = 2" not in child.source


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("nothing here", "no_code"),
        (edit("        c = 9", "        c = 1"), "no_match"),
        (edit("", "        c = 1"), "no_match"),
        (edit("        return 2", "        return 1"), "outside_block"),
        (edit("        # EVOLVE-BLOCK-END", ""), "outside_block"),
        (edit("        a = 1", "        a  =  1  # same"), "no_change"),
        (edit("        a = 1", "        # EVOLVE-BLOCK-START"), "markers"),
    ],
)
def test_bad_edits_are_named(answer: str, fault: str) -> None:
    with pytest.raises(EditFaultError) as caught:
        apply_edits(PARENT, answer)
    assert caught.value.fault == fault


def test_ambiguous_match_is_named() -> None:
    twice = Program("def policy(o):\n    x = 1\n    y = 2\n    x = 1\n    return x\n")
    with pytest.raises(EditFaultError, match="2 places") as caught:
        apply_edits(twice, edit("    x = 1", "    x = 2"))
    assert caught.value.fault == "ambiguous_match"


def test_full_rewrite_keeps_what_is_outside_the_block() -> None:
    answer = """```python
import os

class Policy:
    def act(self, observation):
        # EVOLVE-BLOCK-START
        return 1
        # EVOLVE-BLOCK-END
        return 0
```"""
    child = full_rewrite(PARENT, answer)
    assert "import os" not in child.source
    assert "import random" in child.source
    assert "        return 1\n        # EVOLVE-BLOCK-END\n        return 2\n" in child.source


def test_full_rewrite_without_markers_is_refused_where_text_is_frozen() -> None:
    with pytest.raises(EditFaultError) as caught:
        full_rewrite(PARENT, "```python\nclass Policy:\n    pass\n```")
    assert caught.value.fault == "markers"


def test_full_rewrite_of_an_all_evolvable_program_may_drop_the_markers() -> None:
    parent = Program("# EVOLVE-BLOCK-START\nclass Policy:\n    pass\n# EVOLVE-BLOCK-END\n")
    child = full_rewrite(parent, "```python\nclass Policy:\n    x = 1\n```")
    assert split_blocks(child.source)[1] == [["class Policy:", "    x = 1"]]


def test_the_policy_fence_is_taken_not_the_example() -> None:
    answer = "```python\nprint('an example that is longer than the program, by far, to fool a length rule')\n```\n"
    answer += "```python\ndef policy(o):\n    return 0\n```\nand ```text\nclass Policy\n```"
    assert extract_code(answer) == "def policy(o):\n    return 0"


def test_cut_off_fence_is_named() -> None:
    with pytest.raises(EditFaultError, match="cut off"):
        extract_code("```python\nclass Policy:\n    def act(self")


def test_split_and_join_are_inverse() -> None:
    assert join_blocks(*split_blocks(PARENT.source)) == PARENT.source


def test_parse_edits_reads_several() -> None:
    assert [e.search for e in parse_edits(edit("a", "b") + edit("c\nd", "e"))] == [("a",), ("c", "d")]
