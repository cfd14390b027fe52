"""The campaign of kills refuses what would kill nothing, and say that all is well."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--only", "prob"], 2, "did you mean 'probe'?"),
        (["--count", "1"], 1, "--count 1: no command's share of it is a whole kill"),
        (["--count", "0", "--only", "probe"], 1, "--count 0"),
    ],
)
def test_nothing_to_kill(arguments: list[str], code: int, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    import soak_kills

    app = typer.Typer()
    app.command()(soak_kills.kills)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code
    assert says in done.output
