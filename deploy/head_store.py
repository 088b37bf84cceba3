"""Gives a cluster's head its place in the store: a user of its own there, that reaches Ray's keys and no others.

Ray hands its processes the password of its store in their command line, which everybody with an account on the head's
machine can read. So the head never gets the one in ``CSRO_REDIS_URL``: at each start this makes, with it, a new
password for the head's user, whose rights end at the keys of the cluster's name.

Prints ``HOST:PORT USER PASSWORD`` for the ``CSRO_REDIS_URL`` in a secrets file; nothing if there is none.
Usage: python -m deploy.head_store FILE CLUSTER
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from evolve.archive.core import StoreUnavailableError
from evolve.archive.redis import Connection

# All of Ray's keys begin with the name of the cluster, but for one with which it asks which server takes writes.
# It never asks the server which keys there are: the answer would name the runs.
RIGHTS = ("+@read", "+@write", "+@connection", "-@dangerous", "-scan", "-randomkey", "-dbsize", "+info")


def store_url(path: Path) -> str:
    """The ``CSRO_REDIS_URL`` of a secrets file that a cluster can reach; empty if there is none."""
    if not path.is_file():
        return ""
    lines = (line.strip().removeprefix("export ") for line in path.read_text(encoding="utf-8").splitlines())
    urls = [line.partition("=")[2].strip("'\"") for line in lines if line.startswith("CSRO_REDIS_URL=")]
    return urls[-1] if urls and urlsplit(urls[-1]).scheme in ("redis", "rediss") else ""


def address(url: str) -> str:
    """``HOST:PORT``; with the scheme of TLS, by which Ray knows to use it."""
    parts = urlsplit(url)
    return f"{'rediss://' if parts.scheme == 'rediss' else ''}{parts.hostname}:{parts.port or 6379}"


def make_user(store: Connection, cluster: str) -> tuple[str, str] | None:
    """Name and new password of the head's user, which the store now knows; none if the store lets us make no users."""
    name, password = f"ray-head-{cluster}", secrets.token_hex(16)
    setting = ("reset", "on", f">{password}", f"~RAY{cluster}@*", "~DUMMY", *RIGHTS)
    return (name, password) if store.carries_out("ACL", "SETUSER", name, *setting) else None


def main(path: Path, cluster: str) -> None:
    url = store_url(path)
    if not url:
        return
    try:
        made = make_user(Connection(url), cluster)
    except StoreUnavailableError as error:
        raise SystemExit(f"csro: {error}") from None
    if made is None:
        line = "csro: the store gives us no right to ACL SETUSER: ps on the head will show our own password"
        print(line, file=sys.stderr)
        made = urlsplit(url).username or "default", unquote(urlsplit(url).password or "")
    print(address(url), *made)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
