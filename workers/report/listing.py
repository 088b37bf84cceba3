"""Program text as HTML: highlighted source and unified diffs. The text is untrusted and is escaped in full."""

from __future__ import annotations

import difflib
import re
import unicodedata

from markupsafe import Markup, escape
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import PythonLexer  # type: ignore[import-untyped]

_CLASSES = {"+": "add", "-": "del", "@": "hunk"}


def visible(text: str) -> str:
    """The text with invisible characters spelled out: bidirectional controls can make code read otherwise than it runs,
    and lone surrogates have no encoding."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else f"\\u{ord(c):04x}" for c in text
    )


def flowing(text: str) -> str:
    """The text without the line breaks of its author's width; its paragraphs stay."""
    return re.sub(r"(?<=\S)[ \t]*\n[ \t]*(?=[^\s*-])", " ", text)


def highlighted(source: str) -> Markup:
    """Python source as ``<div class="code"><pre>`` with Pygments classes."""
    formatter = HtmlFormatter(cssclass="code", wrapcode=True)
    return Markup(highlight(visible(source), PythonLexer(stripnl=False), formatter))


def unified_diff(old: str, new: str) -> Markup:
    """The changes as lines in ``<span>``s; each keeps its sign, so that colour is not what tells them apart."""
    lines = list(difflib.unified_diff(visible(old).splitlines(), visible(new).splitlines(), lineterm="", n=3))[2:]
    shown = [Markup('<span class="{}">{}</span>').format(_CLASSES.get(line[:1], "same"), line or " ") for line in lines]
    return Markup("\n").join(shown) if shown else escape("no difference in text")
