"""What comes of a proposal: a child, what came up while it was made, and the line that it leaves in the event log."""

from __future__ import annotations

import time
from dataclasses import dataclass

from evolve.archive.core import NO_FINDINGS, Commit, Findings, Ticket
from evolve.candidate import Candidate
from evolve.scoring import Evaluation, Failed, Scored


@dataclass(frozen=True)
class Offspring:
    """``variant`` is the prompt variant that led to the child."""

    child: Candidate
    findings: Findings = NO_FINDINGS
    variant: str = ""


def improves(child: Candidate, parent: Candidate) -> bool:
    """Did it do better than its parent? A repaired program does, once it runs."""
    if isinstance(child.evaluation, Failed):
        return False
    return isinstance(parent.evaluation, Failed) or child.score > parent.score


def commit_event(task_id: str, ticket: Ticket, offspring: Offspring, outcome: Commit) -> dict[str, object]:
    """The line of the event log that a commit leaves; a replay must produce the same."""
    child, findings = offspring.child, offspring.findings
    evaluation, revised = child.evaluation, findings.revised
    return {
        "type": "commit",
        "task": task_id,
        "proposal": ticket.index,
        "island": ticket.island.index,
        "epoch": ticket.island.epoch,
        "program": child.program.id,
        "operator": child.operator,
        "variant": offspring.variant,
        "outcome": outcome.value,
        "fault": evaluation.fault if isinstance(evaluation, Failed) else "",
        "mean_return": evaluation.mean_return if isinstance(evaluation, Scored) else None,
        "level": evaluation.level,
        "improved": findings.improved,
        "matches": findings.played,
        "saved_by_racing": findings.saved_by_racing,
        "saved_by_novelty": findings.saved_by_novelty,
        "rescored": findings.elite.candidate.program.id if findings.elite and revised else "",
        "rescored_return": revised.mean_return if isinstance(revised, Scored) else None,
        "notes": findings.notes,
        **_welfare(evaluation),
        "t_s": time.time(),
    }


def _welfare(evaluation: Evaluation) -> dict[str, object]:
    """Social welfare of each match, where the task is about a profile."""
    return {"welfare": list(evaluation.welfare)} if isinstance(evaluation, Scored) and evaluation.welfare else {}
