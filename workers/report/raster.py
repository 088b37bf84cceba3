"""SVG to PNG by ``resvg``, for documents that take no SVG. This file is the only one that imports it.

It comes with ``csro[figures]``. Text is drawn in one of the machine's own fonts; a machine that has none draws nothing.
"""

from __future__ import annotations

import importlib.util

_FAMILIES = ("DejaVu Sans", "Liberation Sans", "Noto Sans", "Arial", "Helvetica", "Open Sans", "Roboto", "Ubuntu")
_PROBE = '<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"><text y="14" font-family="{}">M</text></svg>'
_ZOOM = 2.0


class RasterError(Exception):
    """No PNG can be drawn here; the message says what is missing."""


def png(svg: str) -> bytes:
    """The picture at twice its size in pixels. Raises :class:`RasterError` without the library or without a font."""
    if importlib.util.find_spec("resvg_py") is None:
        raise RasterError("it takes resvg; install csro[figures]")
    import resvg_py

    return resvg_py.svg_to_bytes(svg_string=svg, zoom=_ZOOM, sans_serif_family=_family())


def _family() -> str:
    """The first of the known font families that the machine has."""
    import resvg_py

    nothing = resvg_py.svg_to_bytes(svg_string=_PROBE.replace(">M<", "><"))
    for family in _FAMILIES:
        if resvg_py.svg_to_bytes(svg_string=_PROBE.format(family)) != nothing:
            return family
    raise RasterError(f"this machine has none of the fonts {', '.join(_FAMILIES)}; install one")
