"""The live board: one read-only page of the runs under way, alone at its own port or inside Ray's dashboard."""

from workers.board.server import BoardServer

__all__ = ["BoardServer"]
