"""Prints ``HOST:PORT PASSWORD`` of the ``CSRO_REDIS_URL`` in a secrets file, for a head that keeps its state there too;
nothing if there is none. Usage: python deploy/store_address.py FILE"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit


def store_address(path: Path) -> str:
    """``rediss`` addresses keep their scheme, by which Ray knows to use TLS."""
    if not path.is_file():
        return ""
    lines = (line.strip().removeprefix("export ") for line in path.read_text(encoding="utf-8").splitlines())
    urls = [line.partition("=")[2].strip("'\"") for line in lines if line.startswith("CSRO_REDIS_URL=")]
    parts = urlsplit(urls[-1]) if urls else None
    if parts is None or parts.scheme not in ("redis", "rediss"):
        return ""
    scheme = "rediss://" if parts.scheme == "rediss" else ""
    return f"{scheme}{parts.hostname}:{parts.port or 6379} {unquote(parts.password or '')}"


if __name__ == "__main__":
    print(store_address(Path(sys.argv[1])))
