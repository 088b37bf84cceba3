"""The live board beside a cluster's head, with the store's address from the secrets file: ``python -m deploy.board``
followed by options of ``csro board``."""

from __future__ import annotations

import sys

from workers.cli import main
from workers.secrets import load_file

if __name__ == "__main__":
    load_file()
    sys.exit(main(["board", *sys.argv[1:]]))
