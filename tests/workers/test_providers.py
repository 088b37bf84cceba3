"""Whole runs through both real SDKs, against a server on this machine that misbehaves as providers do."""

import json
import os
import signal
from itertools import chain, repeat
from pathlib import Path

import pytest

from tests.evolve.llm.loopback import PASSING, Fault, Loopback, mixed, offline_answers
from tests.workers.runs import TIMEOUT_S, csro, finished, kill, run_words, started, summary, wait_until

pytestmark = pytest.mark.slow
RAY = pytest.mark.ray

CANARY_KEY = "sk-canary-0123456789abcdef"


@pytest.mark.parametrize(
    ("model", "execution", "api"),
    [
        pytest.param("openai:some-model", "ray", "chat", marks=RAY),
        ("openai:some-model", "local", "responses"),
        pytest.param("google:some-model", "ray", "chat", marks=RAY),
    ],
)
def test_a_run_through_a_real_sdk_with_faults(tmp_path: Path, model: str, execution: str, api: str) -> None:
    out = tmp_path / "run"
    # Each kind once, then one request in five: a run meets them all, and no request meets six in a row.
    kinds = (*PASSING, Fault.HUGE)
    once = [fault for kind in kinds for fault in (kind, None)]
    settings = (f"llm.model={model}", f"execution={execution}", f"llm.openai_api={api}")
    with Loopback(offline_answers(1), chain(once, mixed(0.2)), hang_s=30.0) as server:
        environment = {
            "OPENAI_BASE_URL": server.openai_url,
            "OPENAI_API_KEY": CANARY_KEY,
            "GOOGLE_GEMINI_BASE_URL": server.google_url,
            "GEMINI_API_KEY": CANARY_KEY,
        }
        words = run_words(out, *settings, "llm.timeout_s=3", "llm.backoff_s=0.1")
        finished(csro(*words, env=environment))
        met = server.met
        billed = server.tokens
    assert all(met[fault] for fault in kinds)
    found = summary(out)
    completions = [json.loads(line)["completion"] for line in (out / "completions.jsonl").open()]
    assert found["budget"]["llm_calls"] == len(completions) == 32
    # To the token, answers that were paid for and asked again included.
    assert (found["budget"]["tokens_in"], found["budget"]["tokens_out"]) == billed
    assert found["iterations"][0]["best_response"] is not None
    _no_key_in(out)
    replayed = finished(csro("replay", str(out), "--json"))
    assert json.loads(replayed.stdout)["identical"] is True


def _no_key_in(out: Path) -> None:
    for path in out.rglob("*"):
        if path.is_file():
            assert CANARY_KEY.encode() not in path.read_bytes(), f"the key is in {path}"


def _environment(server: Loopback) -> dict[str, str]:
    return {"OPENAI_BASE_URL": server.openai_url, "OPENAI_API_KEY": CANARY_KEY}


def _events(out: Path, kind: str) -> list[dict[str, object]]:
    return [event for line in (out / "events.jsonl").open() if (event := json.loads(line))["type"] == kind]


def test_a_run_waits_for_a_provider_that_is_down(tmp_path: Path) -> None:
    out = tmp_path / "run"
    faults = chain(repeat(None, 6), repeat(Fault.SERVER_ERROR, 3), repeat(None))
    with Loopback(offline_answers(1), faults) as server:
        words = run_words(out, "llm.model=openai:some-model", "execution=local", "llm.max_attempts=1")
        done = finished(csro(*words, env=_environment(server)))
        billed = server.tokens
    said = " ".join(done.stderr.split())
    assert said.count("paused: openai:some-model: HTTP 500") == said.count("openai:some-model is back after") == 1
    found = summary(out)
    # No proposal and no call was used up by the outage.
    assert found["budget"]["llm_calls"] == len((out / "completions.jsonl").read_text().splitlines()) == 32
    assert (found["budget"]["tokens_in"], found["budget"]["tokens_out"]) == billed
    assert sum(entry["programs_scored"] for entry in found["iterations"]) == 32
    assert len(_events(out, "outage")) == len(_events(out, "outage_over")) == 1
    assert found["models"]["openai:some-model"]["paused_s"] > 0


def test_a_run_that_waits_can_be_interrupted_and_goes_on_later(tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = ("llm.model=openai:some-model", "execution=local", "llm.max_attempts=1")
    with Loopback(offline_answers(1), chain(repeat(None, 4), repeat(Fault.SERVER_ERROR))) as server:
        with started(*run_words(out, *settings), env=_environment(server)) as process:
            wait_until(lambda: server.met[Fault.SERVER_ERROR] >= 3, "the provider to be down")
            os.kill(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 1
        assert "interrupted; nothing is lost" in said
        paid = server.tokens
    with Loopback(offline_answers(2)) as server:
        finished(csro("run", "demo", "--out", str(out), "--resume", env=_environment(server)))
        again = server.tokens
    budget = summary(out)["budget"]
    assert (budget["tokens_in"], budget["tokens_out"]) == (paid[0] + again[0], paid[1] + again[1])
    assert budget["llm_calls"] == 32


def test_a_bandits_run_that_was_killed_pays_nothing_twice_and_replays(tmp_path: Path) -> None:
    out, experiment = tmp_path / "run", tmp_path / "bandit.toml"
    experiment.write_text(
        'execution = "local"\nmethod = "csro"\n[llm]\nselection = "bandit"\n'
        'model = [{model = "openai:gpt-4.1"}, {model = "openai:gpt-4.1-mini"}]\n'
        'requests_per_minute = 3000\ntokens_per_minute = 5000000\n'
    )
    words = run_words(out, preset=str(experiment))
    with Loopback(offline_answers(1), latency_s=0.3) as server:
        with started(*words, env=_environment(server)) as process:
            wait_until(lambda: len(server.billed) >= 12, "a dozen answers")
            kill(process.pid)
            process.communicate(timeout=TIMEOUT_S)
        finished(csro("run", str(experiment), "--out", str(out), "--resume", env=_environment(server)))
        asked = [bill.user for bill in server.billed]
        lost = len(asked) - 32
    found = summary(out)
    assert found["budget"]["llm_calls"] == 32
    # Answers that were on their way when the run was killed are asked again, of the same model; no other is.
    assert 0 <= lost <= 8
    models = found["models"]
    assert sum(use["llm_calls"] for use in models.values()) == 32
    assert set(models) == {"openai:gpt-4.1", "openai:gpt-4.1-mini"}
    assert sum(use["usd"] for use in models.values()) == pytest.approx(found["budget"]["usd"], abs=1e-4)
    # An outcome that a kill kept from being booked is forgotten; eight proposals and their backlog were in flight.
    assert 32 - 16 <= len(_events(out, "commit")) == 32
    assert json.loads(finished(csro("replay", str(out), "--json")).stdout)["identical"] is True
