"""The commands of ``csro``: one module each, with ``add_arguments(parser)`` and ``run(arguments) -> int``."""
