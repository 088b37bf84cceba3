"""``csro table``: any rows and seeds, kept on disk, under one budget, in the paper's layout."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from evolve.archive.redis import open_store
from evolve.archive.server import running_server, stop_server
from evolve.llm.budget import Budget, Usage
from evolve.llm.pricing import price_of
from evolve.oracles.registry import oracle_kinds
from tests.evolve.llm.loopback import Fault, Loopback, offline_answers
from tests.workers.runs import csro, finished
from workers.errors import RunFailedError, UsageError
from workers.experiment import Experiment
from workers.run_directory import RunDirectory
from workers.settings import load_experiment
from workers.supervision import RunInterruptedError
from workers.table import layout, work
from workers.table.core import Cell, CellResult, Column, Request, Row, Table
from workers.table.models import by_model
from workers.table.population import METHODS
from workers.table.registry import make_table, table_names
from workers.table.runner import Filled, Missing, TableDirectory, chosen_rows, fill
from workers.table.spending import spending
from workers.table.work import RunPreset, effort
from workers.telemetry import Telemetry


@dataclass
class Counted:
    """The seed is the score; ``fails`` seeds fail. Each call is kept."""

    usd: float = 1.0
    fails: set[int] = field(default_factory=set)
    calls: list[int] = field(default_factory=list)

    def compute(self, cell: Cell) -> CellResult:
        self.calls.append(cell.seed)
        if cell.seed in self.fails:
            raise RunFailedError("the provider is gone")
        return CellResult({"score": 10.0 * cell.seed}, Usage(3, 100, 50, self.usd), 4)


def small(work: Counted, name: str = "a") -> Table:
    return Table(
        "A table",
        ("Method",),
        (Column("Score", lambda figures: figures.get("score")), Column("Loss", lambda f: f.get("loss"), "min")),
        (Row(name, ("A | B",), work, {"Score": "20.5 [S]"}), Row("paper", ("Theirs",), None, {"Score": "7 [S]"})),
        notes=("A note.",),
    )


def filled(work: Counted, path: Path, seeds: list[int], usd: float | None = None) -> tuple[Table, Filled]:
    table, request = small(work), Request()
    directory = TableDirectory(path, "small", request)
    with Telemetry(quiet=True) as telemetry:
        return table, fill(directory, table.rows, seeds, request, usd, telemetry)


def test_cells_are_computed_once_and_seeds_may_be_added(tmp_path: Path) -> None:
    work = Counted()
    filled(work, tmp_path, [1, 2])
    _, found = filled(work, tmp_path, [1, 2, 3])
    assert work.calls == [1, 2, 3]
    assert [cell.figures["score"] for cell in found.values() if isinstance(cell, CellResult)] == [10.0, 20.0, 30.0]


def test_a_failed_cell_is_told_left_out_and_tried_again(tmp_path: Path) -> None:
    work = Counted(fails={2})
    table, found = filled(work, tmp_path, [1, 2])
    assert found["a", 2] == Missing("the provider is gone")
    (line, _) = layout.lines(table, table.rows, [1, 2], found)
    assert layout.texts(table, line)[-4] == "1, 1 failed"
    work.fails.clear()
    _, found = filled(work, tmp_path, [1, 2])
    assert isinstance(found["a", 2], CellResult)
    assert work.calls == [1, 2, 2]


def test_no_cell_is_begun_once_the_money_is_spent(tmp_path: Path) -> None:
    work = Counted(usd=2.0)
    _, found = filled(work, tmp_path, [1, 2, 3], usd=3.0)
    assert work.calls == [1, 2]
    missing = found["a", 3]
    assert isinstance(missing, Missing) and not missing.failed


@pytest.mark.slow
def test_a_cell_that_failed_has_cost_what_its_run_spent(tmp_path: Path) -> None:
    """Two calls are paid for, then the key is refused: the next cell may spend what is left."""
    faults = [None, None, *[Fault.BAD_KEY] * 50]
    small = ("game.num_rounds=20", "psro.iterations=1", "oracle.matches=2", "archive.proposals=8", "llm.in_flight=1")
    request = Request((*small, "llm.model=openai:gpt-4.1", "workers.scorers=1"))
    row = Row("run", ("Run",), RunPreset("demo"))
    table = Table("A table", ("Method",), (), (row,))
    directory = TableDirectory(tmp_path, "failing", request)
    with Loopback(offline_answers(1), faults) as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_BASE_URL", server.openai_url)
        environment.setenv("OPENAI_API_KEY", "any")
        with Telemetry(quiet=True) as telemetry:
            found = fill(directory, table.rows, [1, 2], request, 1.0, telemetry)
        price = price_of("openai:gpt-4.1")
        assert price is not None
        cost = price.usd(*server.tokens)
    spent = spending(directory.cell(row, 1))
    assert (spent.llm_calls, spent.usd) == (2, pytest.approx(cost, abs=2e-6))
    assert all(isinstance(cell, Missing) and cell.failed for cell in found.values())
    _, second = RunDirectory.open(directory.cell(row, 2))
    assert second.budget.usd == pytest.approx(1.0 - spent.usd)


class Spoiled:
    """Fails with a store behind it that another csro has written."""

    def compute(self, cell: Cell) -> CellResult:
        run, experiment = RunDirectory.create(load_experiment("demo"), "demo", str(cell.path))
        with closing(open_store(experiment.run_id, run.store)) as store:
            store.connection.call("SET", f"{{csro:{experiment.run_id}}}:schema", "99")
        raise RunFailedError("the provider is gone")


def test_a_store_that_does_not_tell_what_was_spent_leaves_the_other_cells(tmp_path: Path) -> None:
    row = Row("run", ("Run",), Spoiled())
    directory = TableDirectory(tmp_path, "spoiled", Request())
    with Telemetry(quiet=True) as telemetry:
        found = fill(directory, [row], [1, 2], Request(), None, telemetry)
    assert found == {("run", seed): Missing("the provider is gone") for seed in (1, 2)}
    assert not any(running_server(directory.cell(row, seed) / "store") for seed in (1, 2))


class Spending:
    """Stands for runs: each spends something, then ``ends``. Notes the limit it was given."""

    def __init__(self, usd: Sequence[float], ends: type[Exception]) -> None:
        self.limits: list[float | None] = []
        self._usd, self._ends = iter(usd), ends

    def __call__(self, experiment: Experiment, run: RunDirectory, telemetry: Telemetry) -> dict[str, Any]:
        self.limits.append(experiment.budget.usd)
        with closing(open_store(experiment.run_id, run.store)) as store:
            store.ledger(Budget()).settle(f"call {len(self.limits)}", Usage(1, 1, 1, next(self._usd)))
        raise self._ends("the provider is gone")


def test_a_cell_that_is_tried_again_may_spend_what_the_table_has_left_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first tries leave 0.5 of 3 USD, which the first cell may add to its 2; then 2 more are granted."""
    runs = Spending([2.0, 0.5, 0.0, 0.0, 0.0, 0.0], RunFailedError)
    monkeypatch.setattr(work, "run_experiment", runs)
    row = Row("run", ("Run",), RunPreset("demo"))
    directory = TableDirectory(tmp_path, "spending", Request())
    with Telemetry(quiet=True) as telemetry:
        for usd in (3.0, 3.0, 5.0):
            fill(directory, [row], [1, 2], Request(), usd, telemetry)
    assert runs.limits == [3.0, 1.0, 2.5, 1.0, 4.5, 3.0]


def test_what_an_interrupted_cell_has_spent_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "run_experiment", Spending([2.0], RunInterruptedError))
    row = Row("run", ("Run",), RunPreset("demo"))
    directory = TableDirectory(tmp_path, "interrupted", Request())
    with Telemetry(quiet=True) as telemetry, pytest.raises(RunInterruptedError):
        fill(directory, [row], [1], Request(), 3.0, telemetry)
    assert spending(directory.cell(row, 1)).usd == 2.0


class Killed(BaseException):
    """Stands for a SIGKILL: nobody catches it."""


def test_what_a_killed_cell_has_spent_counts_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("run", ("Run",), RunPreset("demo"))
    directory = TableDirectory(tmp_path, "killed", Request())
    with Telemetry(quiet=True) as telemetry:
        monkeypatch.setattr(work, "run_experiment", Spending([2.0], RunFailedError))
        fill(directory, [row], [1], Request(), 3.0, telemetry)
        monkeypatch.setattr(work, "run_experiment", Spending([1.5], Killed))
        with pytest.raises(Killed):
            fill(directory, [row], [2], Request(), 3.0, telemetry)
        stop_server(directory.cell(row, 2) / "store")
        monkeypatch.setattr(work, "run_experiment", Spending([], RunFailedError))
        found = fill(directory, [row], [1, 2], Request(), 3.0, telemetry)
    assert set(found.values()) == {Missing("not begun: the table's 3 USD are spent", failed=False)}


def test_a_directory_belongs_to_one_request(tmp_path: Path) -> None:
    TableDirectory(tmp_path, "small", Request(calls=10))
    TableDirectory(tmp_path, "small", Request(calls=10))
    with pytest.raises(UsageError, match="holds a table with calls=10: repeat that, or choose another --out"):
        TableDirectory(tmp_path, "small", Request(calls=20))


def test_the_layout_has_mean_error_best_seed_paper_and_price(tmp_path: Path) -> None:
    table, found = filled(Counted(), tmp_path, [1, 2, 3])
    lines = layout.lines(table, table.rows, [1, 2, 3], found)
    assert layout.headings(table) == [
        *("Method", "Score mean ± stderr", "max", "paper", "Loss mean ± stderr", "min"),
        *("seeds", "calls", "tokens", "USD"),
    ]
    ours, theirs = (layout.texts(table, line) for line in lines)
    assert ours == ["A | B", "20.0 ± 5.8", "30.0", "20.5 [S]", "", "", "3", "9", "450", "3.00"]
    assert theirs == ["Theirs", "", "", "7 [S]", "", "", "", "", "", ""]
    text = layout.markdown(table, lines)
    assert "| A \\| B | 20.0 ± 5.8 | 30.0 | 20.5 [S] |" in text
    assert text.endswith("A note.\n")
    rows = list(csv.DictReader(io.StringIO(layout.csv_text(table, lines))))
    assert float(rows[0]["Score stderr"]) == pytest.approx(5.7735, abs=1e-4)
    assert (rows[0]["Score max"], rows[0]["Score min"], rows[0]["llm_calls"]) == ("30.0", "10.0", "9")
    record = layout.to_json(table, lines, [1, 2, 3])
    assert record["rows"][0]["figures"]["Score"]["values"] == [10.0, 20.0, 30.0]
    assert record["rows"][0]["figures"]["Loss"] is None
    json.dumps(record, allow_nan=False)


def test_one_seed_has_no_error(tmp_path: Path) -> None:
    table, found = filled(Counted(), tmp_path, [1])
    lines = layout.lines(table, table.rows, [1], found)
    assert layout.texts(table, lines[0])[1] == "10.0"
    assert layout.to_json(table, lines, [1])["rows"][0]["figures"]["Score"]["stderr"] is None


# -- the papers' tables ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ablations", "leduc", "rrps"])
def test_every_row_is_named_once_and_its_run_has_valid_settings(name: str) -> None:
    assert name in table_names()
    table = make_table(name)
    assert len({row.name for row in table.rows}) == len(table.rows)
    titles = {column.title for column in table.columns}
    for row in table.rows:
        assert len(row.head) == len(table.heads)
        assert row.paper.keys() <= titles
        if isinstance(row.work, RunPreset):
            request = Request(calls=12, iterations=3, matches=7)
            experiment = load_experiment(row.work.preset, row.work.settings(request, 5))
            assert (experiment.seed, experiment.budget.llm_calls, experiment.evaluation.matches) == (5, 12, 7)


@pytest.mark.parametrize("name", ["leduc", "rrps"])
def test_every_oracle_input_and_filter_has_a_row(name: str) -> None:
    assert set(METHODS) <= set(oracle_kinds())
    rows = {row.name for row in make_table(name).rows}
    inputs = [(i, f) for i in ("code", "description", "both") for f in ("none", "top_k", "min_support")]
    assert {f"{m}/{i}/{f}" for m in METHODS for i, f in [*inputs, ("none", "none")]} <= rows


def test_the_paper_rows_are_shown_first_and_in_its_order() -> None:
    names = [row.name for row in chosen_rows(make_table("rrps"), [])]
    assert names[:4] == [
        *("alpha_evolve/description/none", "linear_refinement/description/none", "linear_refinement/code/top_k"),
        "zero_shot/description/none",
    ]
    assert "player/greenberg" in names


def test_unknown_rows_and_tables_are_told() -> None:
    with pytest.raises(UsageError, match=r"no row 'player/greenburg'; did you mean player/greenberg"):
        chosen_rows(make_table("rrps"), ["player/greenburg"])
    with pytest.raises(UsageError, match=r"no table named 'rps'; did you mean rrps"):
        make_table("rps")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("alpha_evolve", {"archive.proposals": 4, "psro.iterations": 3}),
        ("best_of_n", {"oracle.samples": 4, "psro.iterations": 3}),
        ("linear_refinement", {"oracle.refinements": 3, "psro.iterations": 12}),
        ("zero_shot", {"psro.iterations": 12}),
    ],
)
def test_oracles_get_the_same_number_of_calls(kind: str, expected: dict[str, int]) -> None:
    settings = effort(kind, Request(calls=12, iterations=3))
    assert settings.items() >= {**expected, "budget.llm_calls": 12}.items()


SMALL = {
    "game.num_hands": 4,
    "psro.payoff_matches": 2,
    "oracle.matches": 2,
    "oracle.fresh_matches": 2,
    "oracle.training_steps": 300,
    "oracle.checkpoints": 1,
    "workers.scorers": 1,
}


def words(out: Path, *more: str) -> list[str]:
    sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    rows = ("zero_shot/code/none", "best_of_n/code/none", "player/AlwaysRaise", "reinforcement")
    budget = ("--calls", "2", "--iterations", "1", "--matches", "3")
    return ["table", "leduc", "--rows", *rows, *budget, "--out", str(out), "--json", *more, *sets]


@pytest.mark.slow
def test_a_table_from_the_command_line_call_for_call(tmp_path: Path) -> None:
    first = json.loads(finished(csro(*words(tmp_path / "t", "--seeds", "1"))).stdout)
    second: dict[str, Any] = json.loads(finished(csro(*words(tmp_path / "t", "--seeds", "1-2"))).stdout)
    zero_shot, best_of_n, always_raise, impala = second["rows"]
    assert zero_shot["spent"]["llm_calls"] == best_of_n["spent"]["llm_calls"] == 4
    assert zero_shot["figures"]["PopReturn"]["seeds"] == 2
    assert zero_shot["figures"]["PopReturn"]["values"][0] == first["rows"][0]["figures"]["PopReturn"]["values"][0]
    assert always_raise["figures"]["vs AlwaysFold"]["values"] == [4.0, 4.0]
    assert impala["figures"]["PopReturn"]["seeds"] == 2 and impala["spent"]["llm_calls"] == 0
    assert impala["paper"]["PopReturn"] == "? ± 6.9 [S]"
    for name in ("table.md", "table.csv", "table.json"):
        assert (tmp_path / "t" / name).stat().st_size
    refused = csro(*words(tmp_path / "t", "--set", "oracle.matches=4"))
    assert refused.returncode == 2
    assert "repeat that, or choose another --out" in refused.stderr


def test_rows_under_several_models(tmp_path: Path) -> None:
    table = make_table("pibr")
    rows = chosen_rows(table, ["penalty*", "foraging/optimum"])
    spread, found = by_model(table, rows, ["openai:m", "offline"])
    assert spread.heads[-1] == "Model"
    assert [(row.name, row.head[-1]) for row in found] == [
        *(("penalty@openai:m", "openai:m"), ("penalty@offline", "offline")),
        *(("penalty/exact_best_response", ""), ("penalty/offline", ""), ("foraging/optimum", "")),
    ]
    work = found[0].work
    assert isinstance(work, RunPreset)
    experiment = load_experiment(work.preset, work.settings(Request(("oracle.steps=2",), calls=36), 3))
    assert (experiment.llm.model, experiment.budget.llm_calls, experiment.seed) == ("openai:m", 36, 3)


def test_rows_are_listed_under_their_models_too() -> None:
    listed = finished(csro("table", "pibr", "--rows", "penalty*", "--models", "openai:m", "offline", "--list"))
    names = ["penalty@openai:m", "penalty@offline", "penalty/exact_best_response", "penalty/offline"]
    assert listed.stdout.split() == names


def test_the_foot_says_what_the_runs_were_given() -> None:
    assert Request().in_words(None) == "Budget of each run: the row's own."
    given = Request(("budget.llm_calls=5", "psro.iterations=2"), calls=12, matches=7).in_words(3.5)
    assert given == (
        "Budget of each run: 12 LLM calls, 7 matches at the end; "
        "over it --set budget.llm_calls=5 psro.iterations=2; 3.5 USD for all cells."
    )


def test_a_model_is_named_in_one_place(tmp_path: Path) -> None:
    both = ["--models", "offline", "--set", "llm.model=offline"]
    refused = csro("table", "pibr", "--out", str(tmp_path), *both)
    assert refused.returncode == 2 and "give one of them" in refused.stderr


def test_a_row_with_one_seed_shows_the_error_of_its_own_matches() -> None:
    column = Column("Return", lambda f: f["mean"], error=lambda f: f["stderr"])
    row = Row("r", ("R",), RunPreset("demo"))
    table = Table("T", ("Method",), (column,), (row,))
    cells = {("r", seed): CellResult({"mean": 10.0 * seed, "stderr": 1.5}) for seed in (1, 2)}
    one = layout.lines(table, [row], [1], cells)[0]
    assert layout.texts(table, one)[1] == "10.0 ± 1.5 (one run)"
    two = layout.lines(table, [row], [1, 2], cells)[0]
    assert layout.texts(table, two)[1] == "15.0 ± 5.0"


def test_a_row_that_needs_more_packages_fails_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jax" else found(name))
    (row,) = chosen_rows(make_table("rrps"), ["reinforcement"])
    assert row.work is not None
    with Telemetry() as telemetry, pytest.raises(RunFailedError, match="needs JAX"):
        row.work.compute(Cell(tmp_path, 1, Request(), None, telemetry))
