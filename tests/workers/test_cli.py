"""The command line: bad usage is one line and exit status 2; results are JSON on stdout."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from tests.workers.runs import csro
from workers.cli import COMMANDS, main

GOOD = """
class Policy:
    def __init__(self, player, seed):
        self.player = player

    def act(self, observation):
        return 1
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "paper.py"
    file.write_text(GOOD)
    return file


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["rnu", "demo"], "did you mean run"),
        (["run", "dmo"], "did you mean demo"),
        (["run", "demo", "--sett", "x"], "--help"),
        (["run"], "PRESET_OR_TOML"),
        (["run", "demo", "--set", "llm.model=opnai:x"], "did you mean openai"),
        (["run", "demo", "--set", "llm.model=openai:x"], "OPENAI_API_KEY"),
        (["run", "demo", "--set", "llm.model=google:x"], "GEMINI_API_KEY"),
        (["run", "demo", "--set", "psro.meta_solver=nsah"], "did you mean nash"),
        (["evaluate", "bot:grenberg", "--game", "repeated_rps"], "did you mean greenberg"),
        (["evaluate", "nowhere.py", "--game", "repeated_rps"], "no such file"),
        (["evaluate", "bot:randbot", "--game", "rps"], "repeated_rps"),
        (["evaluate", "bot:randbot", "--game", "repeated_rps", "--matches", "0"], "at least 1"),
        (["evaluate", "bot:randbot", "--game", "repeated_rps", "--matches", "many"], "invalid"),
        (["report", "/nowhere"], "no run directory"),
        (["replay", "/nowhere"], "no run directory"),
        (["replay", "/nowhere", "--set", "psro.iterations=2"], "--set psro.iterations: a replay does not read it"),
        (["replay", "/nowhere", "--set", "budget.usd=2"], "--set budget.usd: a replay does not read it"),
        (["check", "/nowhere.py", "--game", "repeated_rps"], "cannot read"),
        (["run", "demo", "--resume", "--out", "/nowhere"], "no run directory"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert hint in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir()), "bad usage left something behind"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"csro {metadata.version('csro')}\n"


def test_no_words_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_check_reports_each_file(program: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("class Policy:\n    def act(self, observation)\n        return 0\n")
    crash = tmp_path / "crash.py"
    crash.write_text(GOOD.replace("return 1", "return 1 // 0"))
    result = csro("check", str(program), str(broken), str(crash), "--game", "repeated_rps", "--json")
    assert result.returncode == 1
    good, syntax, runtime = json.loads(result.stdout)
    assert (good["outcome"], syntax["outcome"], runtime["outcome"]) == ("ok", "syntax_error", "runtime_error")
    assert "line 2" in syntax["detail"] + syntax["traceback"]
    assert "ZeroDivisionError" in runtime["traceback"]
    assert good["level"] >= 3


def test_match_of_program_and_bot(program: Path) -> None:
    words = ["match", str(program), "bot:rockbot", "--game", "repeated_rps", "--matches", "3", "--json"]
    result = json.loads(csro(*words, "--set", "game.num_rounds=50").stdout)
    first, second = result["players"]
    assert first["mean_return"] == 50
    assert second["mean_return"] == -50
    assert first["stderr"] == 0


def test_match_of_a_crashing_program_counts_failures(program: Path, tmp_path: Path) -> None:
    crash = tmp_path / "crash.py"
    crash.write_text(GOOD.replace("return 1", "return 7"))
    words = ["match", str(crash), str(program), "--game", "repeated_rps", "--matches", "2", "--json"]
    result = json.loads(csro(*words).stdout)
    assert result["players"][0]["failures"] == {"illegal_action": 2}
    assert result["players"][0]["mean_return"] is None


def test_evaluate_a_program_prints_every_figure_with_its_error(program: Path) -> None:
    words = ["evaluate", str(program), "--game", "repeated_rps", "--set", "game.num_rounds=50", "--matches", "4"]
    result = json.loads(csro(*words, "--json").stdout)
    assert len(result["by_opponent"]) == 43
    assert result["by_opponent"]["rockbot"]["mean"] == 50
    assert result["matches_per_bot"] == 4
    for name in ("pop_return", "pop_expl", "agg_score"):
        assert isinstance(result[name], float)
        assert isinstance(result[f"{name}_stderr"], float)
    assert "PopReturn" in csro(*words).stdout


def test_evaluating_a_program_that_does_not_load_is_a_failure(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("class Policy:\n    def act(self, observation)\n")
    words = ("evaluate", str(broken), "--game", "repeated_rps", "--set", "game.num_rounds=20", "--matches", "2")
    result = csro(*words, "--json")
    assert result.returncode == 1
    assert json.loads(result.stdout)["failed_matches"] == 86
    assert "failed in 86 matches" in result.stderr
    assert "syntax_error" in result.stderr


def test_doctor_says_what_works() -> None:
    result = csro("doctor", "--json")
    report = json.loads(result.stdout)
    assert report["sandbox"]["level"] >= 3
    assert report["store"]["ok"] is True
    assert result.returncode == 0


def test_ctrl_c_while_a_run_starts_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workers.commands.run.run_experiment", interrupted)
    out = tmp_path / "run"
    assert main(["run", "demo", "--out", str(out)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"csro: interrupted; nothing is lost, go on with: csro run demo --resume --out {out}"
