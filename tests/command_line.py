"""The command line, called within the test's process."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from karel_fast import cli

Cli = Callable[..., tuple[int, str, str]]


def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: str) -> Cli:
    """call(*arguments, stdin="") -> exit code, standard output, standard error, of `karel-fast COMMAND ARGUMENTS`."""

    def call(*arguments: object, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["karel-fast", *command, *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8"))
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
