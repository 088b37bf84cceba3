"""Whole runs through both real SDKs, against a server on this machine that misbehaves as providers do."""

import json
from itertools import chain
from pathlib import Path

import pytest

from tests.evolve.llm.loopback import PASSING, Fault, Loopback, mixed, offline_answers
from tests.workers.runs import csro, finished, run_words, summary

pytestmark = pytest.mark.slow

CANARY_KEY = "sk-canary-0123456789abcdef"


@pytest.mark.parametrize(
    ("model", "execution", "api"),
    [
        ("openai:some-model", "ray", "chat"),
        ("openai:some-model", "local", "responses"),
        ("google:some-model", "ray", "chat"),
    ],
)
def test_a_run_through_a_real_sdk_with_faults(tmp_path: Path, model: str, execution: str, api: str) -> None:
    out = tmp_path / "run"
    # Each kind once, then one request in five: a run meets them all, and no request meets six in a row.
    once = [fault for kind in PASSING for fault in (kind, None)]
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
    assert all(met[fault] for fault in (Fault.RATE_LIMIT, Fault.SERVER_ERROR, Fault.HANG, Fault.RESET))
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
