"""Figures as PNG: what is drawn, and what is told where nothing can be."""

from __future__ import annotations

import struct
import zlib

import pytest

from workers.report import raster

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20" fill="#fff"/>{}</svg>'
)
TEXT = '<text x="2" y="16" style="font: 14px system-ui, sans-serif">Mean</text>'


def pixels(picture: bytes) -> tuple[int, int, bytes]:
    """Width, height and the raw scanlines of a PNG."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture[16:24])
    at, data = 8, b""
    while at < len(picture):
        (length,) = struct.unpack(">I", picture[at : at + 4])
        if picture[at + 4 : at + 8] == b"IDAT":
            data += picture[at + 8 : at + 8 + length]
        at += 12 + length
    return width, height, zlib.decompress(data)


def test_text_in_the_pages_font_is_drawn_at_twice_the_size() -> None:
    width, height, drawn = pixels(raster.png(SVG.format(TEXT)))
    assert (width, height) == (80, 40)
    assert drawn != pixels(raster.png(SVG.format("")))[2]


def test_a_machine_without_fonts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster, "_FAMILIES", ("No Such Font",))
    with pytest.raises(raster.RasterError, match="none of the fonts No Such Font"):
        raster.png(SVG.format(TEXT))


def test_what_to_install_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(raster.RasterError, match=r"install csro\[figures\]"):
        raster.png(SVG.format(TEXT))
