"""`karel-fast generate` and `karel-fast verify`."""

import pytest
import typer
from stored_shards import RECIPE, digests, stored
from typer.testing import CliRunner

import karel_fast as kf
from karel_fast.cli import data as commands
from karel_fast.data.storage.manifest import Manifest

app = typer.Typer()
commands.register(app)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("shards"))


def run_command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_commands(folder, tmp_path):
    (tmp_path / "recipe.json").write_text(RECIPE.to_json())
    out = tmp_path / "data"
    common = ("generate", "--recipe", tmp_path / "recipe.json", "--out", out, "--count", 2500, "--shard-size", 1000)
    for k in (1, 2, 3):
        assert run_command(*common, "--shards", f"{k}/3").exit_code == 0
    assert digests(Manifest.read(out)) == digests(Manifest.read(folder))
    done = run_command("verify", out)
    assert (done.exit_code, done.stdout) == (0, f"{out}: 2500 rows in 3 shards are right\n")


def test_command_with_traces(tmp_path):
    done = run_command("generate", "--count", 20, "--out", tmp_path, "--traces", "--semantics", "adversarial")
    assert done.exit_code == 0
    assert Manifest.read(tmp_path).traces == kf.data.Recipe(semantics="adversarial").semantics


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--shards", "3"), "3"),
        (("--shards", "4/3"), "4/3"),
        (("--engine", "spark"), "spark"),
        (("--semantics", "flip"), "--traces"),
        (("--address", "auto"), "--engine ray"),
        (("--engine", "ray", "--threads", "2"), "--threads"),
        (("--recipe", "tiny"), "tiny"),
        (("--count", "-4"), "-4"),
    ],
)
def test_commands_reject(tmp_path, arguments, says):
    done = run_command("generate", "--count", 10, "--out", tmp_path / "x", *arguments)
    assert isinstance(done.exception, ValueError)
    assert says in str(done.exception)
