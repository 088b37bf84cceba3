"""The ``csro`` command: results to stdout, all else to stderr; exit status 0 success, 1 failed run, 2 bad usage."""

from __future__ import annotations

import argparse
import importlib
import keyword
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from games.registry import near_matches
from workers.errors import UsageError, told

COMMANDS = {
    "run": "the whole loop: evolve best responses, promote them, measure them",
    "evaluate": "a program, run or reference player against the game's reference population",
    "match": "two players head to head",
    "check": "load and play program files in the sandbox: the unit-test feedback",
    "table": "rows of the papers' tables side by side, over seeds, under one budget",
    "report": "one self-contained HTML page of a run",
    "replay": "re-run from the recorded completions, and compare",
    "submit": "a run, or one best response to a run, as a job on a Ray cluster",
    "jobs": "the jobs of a Ray cluster",
    "watch": "a run as it goes on, wherever it runs",
    "board": "the live board of the runs known here",
    "logs": "what a job wrote",
    "stop": "stop a job; submitting it again goes on",
    "runs": "the runs known here, and what they do now",
    "export": "a run as one archive file",
    "import": "put back a run that was exported",
    "gc": "clear away dead servers, Ray sessions and old runs",
    "doctor": "what works here, and what to do about what does not",
}


class _Version(argparse.Action):
    """Looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"csro {metadata.version('csro')}")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def parser(chosen: str | None) -> argparse.ArgumentParser:
    """The whole command line; of the commands only the chosen one is loaded, so that the others cost no time."""
    root = _Parser(
        prog="csro",
        description="Equilibria whose best responses are programs written by language models.",
        epilog="csro COMMAND --help tells the rest.",
    )
    root.add_argument("--version", action=_Version, nargs=0, help="the version installed")
    commands = root.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name, summary in COMMANDS.items():
        if name != chosen:
            commands.add_parser(name, help=summary)
            continue
        module = importlib.import_module(f"workers.commands.{name}{'_' * keyword.iskeyword(name)}")
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="one JSON value on stdout, logs on stderr")
        command.set_defaults(run=module.run)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and not words[0].startswith("-") and words[0] not in COMMANDS:
            raise UsageError(f"no command {words[0]!r}{near_matches(words[0], COMMANDS)}")
        arguments, others = parser(words[0] if words else None).parse_known_args(words or ["--help"])
        if others:
            place = f"csro {arguments.command}" if arguments.command else "csro"
            raise UsageError(f"unrecognized arguments: {' '.join(others)}; see {place} --help")
        status: int = arguments.run(arguments)
        sys.stdout.flush()  # here, where a reader that went away can still be met
    except KeyboardInterrupt:
        print("csro: interrupted", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor a complaint when Python flushes it
        return 1
    except (ValueError, RuntimeError, OSError) as error:
        line = told(error)
        if line is None:
            raise
        print(f"csro: {line[0]}", file=sys.stderr)
        return line[1]
    return status


if __name__ == "__main__":
    sys.exit(main())
