"""The report of a run: one self-contained HTML page, made from the files of its run directory."""

from workers.report.page import render_report

__all__ = ["render_report"]
