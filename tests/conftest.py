"""What all tests share: the command line; and no example of Hypothesis fails for being slow, since machines are busy."""

import pytest
from command_line import Cli, command_line
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """cli(*arguments, stdin="") -> exit code, standard output, standard error, of `karel-fast ARGUMENTS`."""
    return command_line(monkeypatch, capsys)
