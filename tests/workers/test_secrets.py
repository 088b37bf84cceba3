"""Keys: where they are read from, who keeps them, and who never has them."""

from pathlib import Path

import pytest

from workers import secrets
from workers.errors import RunFailedError
from workers.secrets import NAMES, Secrets, forget, load_file, withheld


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "secrets.env"
    monkeypatch.setenv("CSRO_SECRETS", str(path))
    return path


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_a_private_file_adds_to_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    assert load_file() == ()
    monkeypatch.setenv("GEMINI_API_KEY", "from the environment")
    write(file, "# keys\nOPENAI_API_KEY = 'quoted=value'\n\nexport GEMINI_API_KEY=from the file\n")
    assert load_file() == ("OPENAI_API_KEY", "GEMINI_API_KEY")
    assert os.environ["OPENAI_API_KEY"] == "quoted=value"
    assert os.environ["GEMINI_API_KEY"] == "from the environment"
    with withheld() as held:
        assert not set(NAMES) & set(os.environ)
        assert "quoted" not in repr(held)
    assert os.environ["OPENAI_API_KEY"] == "quoted=value"
    forget()
    assert not set(NAMES) & set(os.environ)
    Secrets({"OPENAI_API_KEY": "again"}).install()
    assert os.environ.pop("OPENAI_API_KEY") == "again"


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o666])
def test_a_file_that_others_may_read_is_refused(file: Path, mode: int) -> None:
    write(file, "OPENAI_API_KEY=x\n", mode)
    with pytest.raises(RunFailedError, match="chmod 600"):
        load_file()


@pytest.mark.parametrize("line", ["OPENAI_KEY=x", "OPENAI_API_KEY", "just words"])
def test_a_line_that_says_something_else_is_told_without_its_value(file: Path, line: str) -> None:
    write(file, f"GEMINI_API_KEY=canary\n{line}\n")
    with pytest.raises(RunFailedError, match="line 2") as caught:
        load_file()
    assert "canary" not in str(caught.value)
    assert secrets.secrets_path() == file
