"""`karel-fast generate` and `karel-fast verify`."""

import os
from pathlib import Path

import pytest
from stored_shards import RECIPE, digests, stored

import karel_fast as kf
from karel_fast.data.storage.manifest import Manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def refused(cli):
    """refused(says, *arguments): the command ends with one line that says so, and exit code 2."""

    def call(says, *arguments):
        code, _, error = cli(*arguments)
        assert (code, error.count("\n")) == (2, 1), error
        assert says in error

    return call


def test_commands(folder, tmp_path, cli):
    (tmp_path / "recipe.json").write_text(RECIPE.to_json())
    out = tmp_path / "data"
    common = ("generate", "--recipe", tmp_path / "recipe.json", "--out", out, "--count", 2500, "--shard-size", 1000)
    for k in (1, 2, 3):
        assert cli(*common, "--shards", f"{k}/3")[0] == 0
    assert digests(Manifest.read(out)) == digests(Manifest.read(folder))
    assert cli("verify", out)[:2] == (0, f"{out}: 2500 rows in 3 shards are right\n")


def test_command_with_traces(tmp_path, cli):
    assert cli("generate", "--count", 20, "--out", tmp_path, "--traces", "--semantics", "adversarial")[0] == 0
    assert Manifest.read(tmp_path).traces == kf.data.Recipe(semantics="adversarial").semantics


def test_no_command_writes_over_what_it_reads(tmp_path, cli, refused):
    records, recipe = tmp_path / "records.jsonl", tmp_path / "recipe.json"
    recipe.write_text(RECIPE.to_json())
    assert cli("generate", "--count", 3, "--format", "jsonl", "--out", records)[0] == 0
    before = records.read_bytes(), recipe.read_bytes()
    for command in (
        ("trace", records, "--out", records),
        ("generate", "--recipe", recipe, "--count", 3, "--format", "jsonl", "--out", recipe),
        ("evaluate", "no-run", "--data", records, "--output", records),
        ("evaluate", "no-run", "--recipe", recipe, "--output", recipe),
    ):
        refused("which is the same file; name another one", *command)
    assert (records.read_bytes(), recipe.read_bytes()) == before


def test_where_metrics_cannot_be_written_is_said_before_the_work(tmp_path, monkeypatch, refused):
    (tmp_path / "file").write_text("")
    evaluate = ("evaluate", "no-run", "--output")
    refused("it is a folder, not a file; give a file", *evaluate, tmp_path)
    refused(
        "metrics.json: " + str(tmp_path / "file") + " is a file, not a folder; give another place",
        *evaluate,
        tmp_path / "file" / "metrics.json",
    )
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    refused("may not be written to; give another place", *evaluate, tmp_path / "new" / "metrics.json")


def test_a_file_too_large_for_memory(tmp_path, monkeypatch, cli):
    def full(*_, **__):
        raise MemoryError("Unable to allocate 3.63 TiB")

    monkeypatch.setattr("karel_fast.data.generate", full)
    code, _, error = cli("generate", "--format", "jsonl", "--count", "2e9", "--out", tmp_path / "x")
    assert (code, error.count("\n")) == (2, 1)
    assert "--count 2000000000: so many samples of one file" in error
    assert "3.63 TiB); give fewer, or --format parquet" in error


def test_a_data_set_has_a_recipe_of_its_own(folder, tmp_path, refused):
    says = "the data set is of another recipe than --recipe says; leave out one of them"
    refused(says, "train", tmp_path / "run", "--shards", folder, "--recipe", "paper")


@pytest.mark.parametrize("option", [("--fraction", 0.01), ("--backend", "foo"), ("--threads", 0)])
def test_options_of_shards_are_not_ignored_of_a_run(tmp_path, option, refused):
    (tmp_path / "package.json").write_text("{}")
    refused(f"{option[0]} is for shards", "verify", tmp_path, *option)


def test_a_folder_of_which_nothing_can_be_compared(tmp_path, refused):
    (tmp_path / "package.json").write_text("{}")
    refused("no file has a checksum, so nothing could be compared", "verify", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--shards", "3"), "3"),
        (("--shards", "4/3"), "4/3"),
        (("--shards", "1/0"), "the number of parts is 0; give a whole number of at least 1"),
        (("--engine", "spark"), "spark"),
        (("--semantics", "flip"), "--traces"),
        (("--address", "auto"), "--engine ray"),
        (("--format", "jsonl", "--address", "auto"), "--address is of a folder of shards"),
        (("--format", "jsonl", "--shard-size", 7), "--shard-size is of a folder of shards"),
        (("--engine", "ray", "--threads", "2"), "--threads"),
        (("--recipe", "tiny"), "tiny"),
        (("--count", "-4"), "-4"),
    ],
)
def test_commands_reject(tmp_path, arguments, says, cli):
    code, _, error = cli("generate", "--count", 10, "--out", tmp_path / "x", *arguments)
    assert code == 2
    assert says in error
