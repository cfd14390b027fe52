"""Samples in other people's formats: the MSR data set's JSON lines, text, and a data set card beside the shards."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli

import karel_fast as kf
from karel_fast.data import (
    Recipe,
    export_text,
    generate,
    msr_samples,
    read_msr,
    verify,
    write_card,
    write_msr,
    write_shards,
)
from karel_fast.data.storage.card import COLUMNS, card_text
from karel_fast.data.storage.manifest import Manifest
from karel_fast.data.storage.msr import grid_of, tensors_of
from karel_fast.data.storage.packing import column_widths
from karel_fast.support.checks import InputError

RECIPE = Recipe.control_flow(height=6, width=9, examples=2, held_out=1)


def places(*ones: tuple[int, int, int]) -> str:
    """The ones of a grid at (channel, row, column), by the arithmetic of a 16 x 18 x 18 tensor."""
    return " ".join(f"{(channel * 18 + row) * 18 + column}:1.0" for channel, row, column in sorted(ones))


def ring(rows: int, columns: int) -> list[tuple[int, int, int]]:
    edge = [(row, column) for row in range(rows + 2) for column in (0, columns + 1)]
    edge += [(row, column) for row in (0, rows + 1) for column in range(1, columns + 1)]
    return [(5, row, column) for row, column in edge]


def test_a_grid_by_hand(tmp_path: Path) -> None:
    """Two rows from the bottom: the robot in the lower left looks north, a wall at its right, three markers above."""
    before = places((0, 1, 1), (4, 1, 2), (8, 2, 1), *ring(2, 3))
    after = places((0, 2, 1), (4, 1, 2), (8, 2, 1), *ring(2, 3))
    record = {
        "program_tokens": ["DEF", "run", "m(", "move", "m)"],
        "examples": [{"inpgrid_tensor": before, "outgrid_tensor": after}],
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(record) + "\n")
    found = read_msr(path)
    assert found.sizes.tolist() == [[2, 3]]
    text = found.inputs.to_text()[0].split("\n")
    assert [line[:6] for line in text[-4:]] == ["######", "#3..##", "#^#.##", "######"]
    assert (found.inputs.height, found.inputs.width) == (18, 18)
    made = kf.run(found.programs, found.inputs, on_error="crash").worlds
    assert made.equal(found.outputs).all()
    assert kf.check(found.programs, found.inputs, found.outputs, on_error="crash").all()
    write_msr(tmp_path / "y.json", found.programs, found.inputs, found.outputs, found.sizes)
    again = json.loads((tmp_path / "y.json").read_text())
    assert again["program_tokens"] == record["program_tokens"]
    assert sorted(again["examples"][0]["inpgrid_tensor"].split()) == sorted(before.split())


def test_there_and_back(tmp_path: Path) -> None:
    samples = generate(RECIPE, "train", 3, 40)
    programs = list(samples.programs)
    few = np.minimum(samples.outputs.markers, 10)
    outputs = kf.Worlds(walls=samples.outputs.walls, markers=few, robot=samples.outputs.robot)
    path = tmp_path / "x.json"
    write_msr(path, programs, samples.inputs, outputs)
    found = read_msr(path)
    assert found.programs == programs
    assert found.examples == RECIPE.worlds_per_sample
    assert (found.sizes == (4, 7)).all()
    inner = found.inputs.markers[:, -5:-1, 1:8]
    np.testing.assert_array_equal(inner, samples.inputs.markers[:, 1:-1, 1:-1])
    assert tensors_of(found.inputs, found.sizes) == tensors_of(samples.inputs)
    assert tensors_of(found.outputs, found.sizes) == tensors_of(outputs)
    # Programs do in the larger world what they do in their own, status and steps included.
    own, theirs = (kf.run(programs, worlds, on_error="crash") for worlds in (samples.inputs, found.inputs))
    np.testing.assert_array_equal(own.status, theirs.status)
    np.testing.assert_array_equal(own.steps, theirs.steps)
    assert (own.status == kf.Status.CRASHED).any()
    assert not kf.check(programs, found.inputs, theirs.worlds, on_error="crash")[theirs.status != kf.Status.OK].any()
    assert len(read_msr(path, most=7).programs) == 7
    packed = tmp_path / "val.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_msr(packed).programs == found.programs


GRIDS = ("inpgrid_tensor", "outgrid_tensor")


def test_the_record_with_a_wrong_grid_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    grids = [places((0, 1, 1), *ring(2, 2)), places(*ring(2, 2))]  # the second has no robot
    records = [
        {"program_tokens": ["DEF", "run", "m(", "m)"], "examples": [dict.fromkeys(GRIDS, grids[k == 2])]}
        for k in range(4)
    ]
    path.write_text("\n\n".join(map(json.dumps, records)) + "\n")
    with pytest.raises(InputError, match=r"x.json, line 5: a grid has a ring .* and one robot"):
        read_msr(path)
    assert len(read_msr(path, most=2).programs) == 2
    for most in (0, -1, 1.5, True):
        with pytest.raises((TypeError, ValueError), match=f"most is {most}; give a whole number of at least 1"):
            read_msr(path, most=most)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"program_tokens": ["DEF", "run", "m(", "jump", "m)"]}, "line 1: .*jump"),
        ({"program_tokens": None}, "a record has program_tokens"),
        ({"examples": []}, "0 examples"),
        ({"examples": [{"inpgrid_tensor": "5184:1.0", "outgrid_tensor": ""}]}, "'5184:1.0' is no place of a grid"),
        ({"examples": [{"inpgrid_tensor": "1:0.5", "outgrid_tensor": ""}]}, "'1:0.5' is no place"),
        ({"examples": [{"inpgrid_tensor": "1:1.0"}]}, "outgrid_tensor"),
        ({"examples": [{"inpgrid_tensor": "1:1.0", "outgrid_tensor": "1:1.0"}]}, "line 1: a grid has a ring around"),
        (
            {"examples": [{name: places((0, 0, 1), *ring(2, 2)) for name in GRIDS}]},
            "line 1: the robot stands in the ring",
        ),
        ({"examples": [{name: places((0, 3, 5), *ring(2, 2)) for name in GRIDS}]}, "outside it"),
        ({"examples": [{name: places((0, 1, 1), (4, 1, 1), *ring(2, 2)) for name in GRIDS}]}, "in a blocked cell"),
    ],
)
def test_wrong_records(tmp_path: Path, change: dict, says: str) -> None:
    grid = places((0, 1, 1), *ring(2, 2))
    record = {
        "program_tokens": ["DEF", "run", "m(", "m)"],
        "examples": [{"inpgrid_tensor": grid, "outgrid_tensor": grid}],
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**record, **change}) + "\n")
    with pytest.raises(ValueError, match=says):
        read_msr(path)


def test_what_the_data_set_cannot_hold(tmp_path: Path) -> None:
    worlds = kf.Worlds.from_text("#####\n#>.2#\n#####")
    many = kf.Worlds(walls=worlds.walls, markers=worlds.markers * 6, robot=worlds.robot)
    large = kf.Worlds.random(1, 19, 19, seed=0)
    program = "def run() { move() }"
    for arguments, says in (
        (([program], many, many), "more than 10 markers"),
        (([program], large, large), "at most 18 x 18"),
        (
            ([program], worlds, kf.Worlds.from_text("######\n#>.2.#\n######")),
            "inputs of 3 x 5 cells and outputs of 3 x 6",
        ),
        (([program], worlds, worlds, np.array([[1.0, 3.0]])), "sizes are float64"),
        (([program] * 2, worlds, worlds), "2 programs, 1 inputs"),
        (([program], worlds, worlds, np.array([[3, 3]])), "rows and columns inside the ring"),
        (([program], worlds, worlds, np.array([[1, 0]])), "rows and columns inside the ring"),
        (([program], worlds, worlds, np.array([[1, 2]])), "world 0 has free cells outside the 1 x 2 cells of its size"),
    ):
        with pytest.raises(InputError, match=says):
            write_msr(tmp_path / "x.json", *arguments)
    assert not list(tmp_path.iterdir())
    assert grid_of("").sum() == 0


def test_samples_that_the_msr_data_set_s_rule_allows() -> None:
    count, drawn = 30, generate(RECIPE, "train", 5, 5000)
    programs, inputs, outputs = msr_samples(RECIPE, "train", 5, count)
    crash = kf.check(drawn.programs, drawn.inputs, drawn.outputs, on_error="crash")
    few = (drawn.outputs.markers <= 10).all(axis=(1, 2)) & (drawn.inputs.markers <= 10).all(axis=(1, 2))
    allowed = np.flatnonzero((crash & few).reshape(len(drawn), -1).all(axis=1))[:count]
    assert len(allowed) == count < allowed[-1]
    assert programs == [drawn.programs[i] for i in allowed]
    rows = (allowed[:, None] * RECIPE.worlds_per_sample + np.arange(RECIPE.worlds_per_sample)).ravel()
    assert (inputs, outputs) == (drawn.inputs[rows], drawn.outputs[rows])
    with pytest.raises(InputError, match="no meaning but the plain one"):
        msr_samples(RECIPE.replace(semantics="flip"), "train", 0, 1)
    with pytest.raises(InputError, match="of 20000 samples 0 go through"):
        msr_samples(RECIPE.replace(control=None, action_weights=(0, 0, 0, 1, 0), marker_probability=0), "train", 0, 1)


def test_text_that_people_read(tmp_path: Path) -> None:
    samples = generate(RECIPE, "test", 5, 3)
    export_text(samples, tmp_path / "x.txt")
    text = (tmp_path / "x.txt").read_text()
    assert text.count("sample test") == 3
    assert text.count("held out") == 3
    for program in samples.programs:
        assert str(program) in text
    for world in (*samples.inputs.to_text(), *samples.outputs.to_text()):
        assert all(line in text for line in world.split("\n"))


def test_the_command(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "r.json").write_text(RECIPE.to_json())

    command = ("generate", "--recipe", tmp_path / "r.json", "--count", 4, "--split", "val", "--out")
    for kind in ("text", "jsonl", "msr"):
        assert cli(*command, tmp_path / kind, "--format", kind, "--start", 2)[0] == 0
    wanted = generate(RECIPE, "val", 2, 4)
    found = read_msr(tmp_path / "msr")
    assert (len(found.programs), found.examples) == (4, RECIPE.worlds_per_sample)
    assert kf.check(found.programs, found.inputs, found.outputs, on_error="crash").all()
    assert kf.data.import_jsonl(tmp_path / "jsonl", examples=2).programs == wanted.programs
    for words, says in (
        (("--format", "csv"), "--format is 'csv'"),
        (("--format", "text", "--card"), "--card is of a folder of shards"),
        (("--start", "3"), "--start is of one file"),
    ):
        code, _, error = cli(*command, tmp_path / "no", *words)
        assert (code, error.count("\n")) == (2, 1)
        assert says in error
    assert cli(*command, tmp_path / "shards", "--card")[0] == 0
    assert (tmp_path / "shards" / "README.md").read_text().startswith("---\npretty_name")
    # A README of somebody's own is not replaced, and looked for before anything is made.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("# my project")
    code, _, error = cli(*command, tmp_path / "mine", "--card")
    assert code == 2
    assert "README.md is no card of karel_fast, and would be replaced" in error
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["README.md"]
    assert (tmp_path / "mine" / "README.md").read_text() == "# my project"


def test_a_card_says_what_there_is(tmp_path: Path) -> None:
    import pyarrow.dataset as ds

    write_shards(RECIPE, "val", tmp_path, count=12, shard_size=5, traces="flip")
    assert ds.dataset(tmp_path, format="parquet").count_rows() == 12  # without a card the whole folder is read
    text = write_card(tmp_path).read_text()
    assert write_card(tmp_path).read_text() == text
    for name in column_widths(RECIPE, traces=True):
        assert f"| `{name}` |" in text
    assert list(COLUMNS) == list(column_widths(RECIPE, traces=True))
    assert "split: validation\n    path: shard-*.parquet" in text
    assert "n<1K" in text
    many = card_text(replace(Manifest.read(tmp_path), count=20_000_000, shard_size=1000))
    assert "\n- 10M<n<100M\n" in many
    recipe = text.split("```json\n")[1].split("```")[0]
    assert Recipe.from_json(recipe) == RECIPE
    assert verify(tmp_path).rows == 12
    assert write_shards(RECIPE, "val", tmp_path, count=12, shard_size=5, traces="flip").count == 12  # it is no obstacle
    assert len(ds.dataset(sorted(map(str, tmp_path.glob("*.parquet")))).to_table()) == 12
    with pytest.raises(FileNotFoundError):
        write_card(tmp_path / "nowhere")


def test_the_hubs_library_reads_folder_and_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    write_shards(RECIPE, "val", tmp_path / "shards", count=12, shard_size=5)
    for _ in range(2):
        found = datasets.load_dataset(str(tmp_path / "shards"), cache_dir=str(tmp_path / "cache"))
        assert sum(map(len, found.values())) == 12
        write_card(tmp_path / "shards")
    assert list(found) == ["validation"]
