"""Figure 2: a panel a start, dots for episodes, crosses for steps whose program failed."""

from __future__ import annotations

from collections.abc import Mapping

from workers.report import figure2
from workers.report.run_files import RunFiles


def run(method: str, *commits: Mapping[str, object]) -> RunFiles:
    iterations = [{"iteration": k + 1, "start": k % 2, "step": 1, "player": 0} for k in range(2)]
    summary = {"method": method, "iterations": iterations}
    return RunFiles(summary, "", (), (), (), {}, (), commits)


def step(task: int, proposal: int, *welfare: float) -> Mapping[str, object]:
    fault = {} if welfare else {"fault": "runtime_error"}
    return {"task": f"br-{task:03d}", "proposal": proposal, "welfare": list(welfare), **fault}


def test_a_step_that_failed_is_a_cross_and_breaks_the_mean() -> None:
    panel, other = figure2.panels(run("pibr", step(0, 0, 1.0, 3.0), step(0, 1), step(0, 2, 2.0), step(1, 0, 5.0)))
    assert (panel.start, len(panel.steps), panel.failed) == (0, 3, 1)
    assert panel.chart.count('class="episode"') == 3 and panel.chart.count('class="missing"') == 1
    assert "step 2: runtime error" in panel.chart and "<polyline" not in panel.chart
    assert (other.start, len(other.steps)) == (1, 1)


def test_a_run_whose_programs_all_failed_is_drawn_too() -> None:
    (panel,) = figure2.panels(run("pibr", step(0, 0), step(0, 1)))
    assert panel.failed == 2 and panel.chart.count('class="missing"') == 2
    assert figure2.standalone([panel], "A title", "and more").startswith("<svg xmlns=")


def test_other_methods_have_none() -> None:
    assert figure2.panels(run("csro", step(0, 0, 1.0))) == [] == figure2.panels(run("pibr"))
