"""From a model's answer to a child program: full rewrites and SEARCH/REPLACE edits inside EVOLVE-BLOCK markers.

A bad answer is data: :class:`EditFaultError` names what is wrong in words that can be fed back to the model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from evolve.program import Program

BLOCK_START = "# EVOLVE-BLOCK-START"
BLOCK_END = "# EVOLVE-BLOCK-END"

_FENCE = re.compile(r"^[ \t]*```[ \t]*([A-Za-z0-9_+-]*)[^\n]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)
_EDIT = re.compile(
    r"^[ \t]*<{5,9} ?SEARCH[ \t]*\n(.*?)^[ \t]*={5,9}[ \t]*\n(.*?)^[ \t]*>{5,9} ?REPLACE[ \t]*$",
    re.DOTALL | re.MULTILINE,
)


class EditFaultError(ValueError):
    """An answer that yields no child. ``fault`` is its short name, the message says what to do differently.

    Faults: ``no_code``, ``no_match``, ``ambiguous_match``, ``outside_block``, ``markers``, ``no_change``.
    """

    def __init__(self, fault: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


@dataclass(frozen=True)
class Edit:
    """One SEARCH/REPLACE block, as lines without their ends."""

    search: tuple[str, ...]
    replace: tuple[str, ...]


def new_program(answer: str) -> Program:
    """The program that an answer holds, with sound EVOLVE-BLOCK markers or none. Raises :class:`EditFaultError`."""
    code = extract_code(answer)
    split_blocks(code)  # one whose markers are broken could not be changed later
    return Program(code + "\n")


def full_rewrite(parent: Program, answer: str) -> Program:
    """The child that a whole-program answer describes.

    Text outside the parent's EVOLVE-BLOCKs is kept from the parent; the answer supplies the blocks.
    Raises :class:`EditFaultError`.
    """
    code = extract_code(answer)
    frozen, blocks = split_blocks(parent.source)
    if not blocks:
        return _changed(parent, code)
    if not any(line.strip() for part in frozen for line in part):
        return _changed(parent, code if BLOCK_START in code else f"{BLOCK_START}\n{code}\n{BLOCK_END}")
    _, written = split_blocks(code)
    if len(written) != len(blocks):
        raise EditFaultError(
            "markers",
            f"the program has {len(blocks)} EVOLVE-BLOCK(s), the answer {len(written)}: keep each "
            f"'{BLOCK_START}' and '{BLOCK_END}' line",
        )
    return _changed(parent, join_blocks(frozen, written))


def apply_edits(parent: Program, answer: str) -> Program:
    """The child that SEARCH/REPLACE blocks describe, applied in order. Raises :class:`EditFaultError`.

    A block must match exactly one place, white space at the ends of lines and common indentation aside,
    and that place must lie inside an EVOLVE-BLOCK where the program has any.
    """
    edits = parse_edits(answer)
    if not edits:
        raise EditFaultError("no_code", "the answer holds no SEARCH/REPLACE block")
    source = parent.source
    for number, edit in enumerate(edits, 1):
        source = _apply(source, edit, number)
    return _changed(parent, source)


def extract_code(answer: str) -> str:
    """The program in an answer: its last Python fence that defines a policy, else its longest fence, else all of it
    if it looks like a program. Raises :class:`EditFaultError`."""
    fences = [(language.lower(), body) for language, body in _FENCE.findall(answer)]
    bodies: list[str] = [body for language, body in fences if language in ("", "python", "py", "python3")]
    policies = [body for body in bodies if defines_policy(body)]
    if policies:
        return policies[-1].strip("\n")
    if bodies:
        return max(bodies, key=len).strip("\n")
    # A cut-off answer opens a fence and never closes it; plain code has none at all.
    opened = re.search(r"^[ \t]*```(?:python|py)?[ \t]*\n(.*)\Z", answer, re.DOTALL | re.MULTILINE)
    if opened:
        raise EditFaultError("no_code", "the code fence is never closed: the answer was cut off, write less")
    if defines_policy(answer):
        return answer.strip("\n")
    raise EditFaultError("no_code", "the answer holds no ```python block")


def defines_policy(source: str) -> bool:
    """Does this text define ``class Policy`` or ``def policy``?"""
    return re.search(r"^(class Policy\b|def policy\b)", source, re.MULTILINE) is not None


def parse_edits(answer: str) -> list[Edit]:
    return [Edit(_lines(search), _lines(replace)) for search, replace in _EDIT.findall(answer)]


def split_blocks(source: str) -> tuple[list[list[str]], list[list[str]]]:
    """Lines outside and inside the EVOLVE-BLOCKs: ``len(outside) == len(inside) + 1``. Marker lines belong to neither.

    Raises :class:`EditFaultError` if markers are nested, unclosed or closed twice.
    """
    outside: list[list[str]] = [[]]
    inside: list[list[str]] = []
    in_block = False
    for number, line in enumerate(source.splitlines(), 1):
        marker = line.strip()
        if marker == BLOCK_START and not in_block:
            inside.append([])
            in_block = True
        elif marker == BLOCK_END and in_block:
            outside.append([])
            in_block = False
        elif marker in (BLOCK_START, BLOCK_END):
            raise EditFaultError("markers", f"line {number}: '{marker}' without its partner before it")
        else:
            (inside if in_block else outside)[-1].append(line)
    if in_block:
        raise EditFaultError("markers", f"the last '{BLOCK_START}' is never closed by '{BLOCK_END}'")
    return outside, inside


def join_blocks(outside: list[list[str]], inside: list[list[str]]) -> str:
    """The inverse of :func:`split_blocks`; markers are written at the block's own indentation."""
    lines = list(outside[0])
    for block, after in zip(inside, outside[1:], strict=True):
        first = next((line for line in block if line.strip()), "")
        indent = first[: len(first) - len(first.lstrip())]
        lines += [indent + BLOCK_START, *block, indent + BLOCK_END, *after]
    return "\n".join(lines) + "\n"


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.rstrip() for line in text.split("\n")[:-1])


def _changed(parent: Program, source: str) -> Program:
    split_blocks(source)  # a child whose markers are broken could not be edited again
    child = Program(source.rstrip("\n") + "\n")
    if child.id == parent.id:
        raise EditFaultError("no_change", "the program is the same as before, comments and layout aside")
    return child


def _apply(source: str, edit: Edit, number: int) -> str:
    lines = source.splitlines()
    wanted = _strip_blank_ends(edit.search)
    if not wanted:
        raise EditFaultError("no_match", f"SEARCH block {number} is empty: quote the lines to replace")
    places = _matches(lines, wanted)
    if not places:
        raise EditFaultError("no_match", f"SEARCH block {number} matches no lines: {wanted[0].strip()!r} ...")
    if len(places) > 1:
        raise EditFaultError(
            "ambiguous_match", f"SEARCH block {number} matches {len(places)} places: quote more lines around the change"
        )
    start = places[0]
    stop = start + len(wanted)
    allowed = _editable_lines(lines)
    if allowed is not None and not all(i in allowed for i in range(start, stop)):
        raise EditFaultError("outside_block", f"SEARCH block {number} touches lines outside the EVOLVE-BLOCK markers")
    shift = _indent(lines[start]) - _indent(wanted[0])
    replacement = [_shifted(line, shift) for line in edit.replace]
    return "\n".join([*lines[:start], *replacement, *lines[stop:]]) + "\n"


def _matches(lines: list[str], wanted: tuple[str, ...]) -> list[int]:
    """Exact matches, else those that differ by one common indentation."""
    stripped = [line.rstrip() for line in lines]
    starts = range(len(lines) - len(wanted) + 1)
    exact = [i for i in starts if tuple(stripped[i : i + len(wanted)]) == wanted]
    if exact:
        return exact
    relative = _dedent(wanted)
    return [i for i in starts if _dedent(tuple(stripped[i : i + len(wanted)])) == relative]


def _dedent(lines: tuple[str, ...]) -> tuple[str, ...]:
    margin = min((_indent(line) for line in lines if line.strip()), default=0)
    return tuple(line[margin:] if line.strip() else "" for line in lines)


def _strip_blank_ends(lines: tuple[str, ...]) -> tuple[str, ...]:
    keep = [i for i, line in enumerate(lines) if line.strip()]
    return lines[keep[0] : keep[-1] + 1] if keep else ()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _shifted(line: str, by: int) -> str:
    if not line.strip():
        return ""
    return " " * by + line if by >= 0 else line[min(-by, _indent(line)) :]


def _editable_lines(lines: list[str]) -> set[int] | None:
    """Indices of lines inside the markers; ``None`` where there are no markers and all may change."""
    allowed: set[int] = set()
    found = in_block = False
    for i, line in enumerate(lines):
        marker = line.strip()
        if marker == BLOCK_START:
            found = in_block = True
        elif marker == BLOCK_END:
            in_block = False
        elif in_block:
            allowed.add(i)
    return allowed if found else None
