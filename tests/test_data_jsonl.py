"""The original's schema in and out, and traces of one's own programs."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from test_data_recipe import recipes

import karel_fast as kf
from karel_fast.data import Recipe, Tokenizer, export_jsonl, generate, import_for, import_jsonl, import_specifications
from karel_fast.support.checks import InputError


@given(recipe=recipes())
@settings(max_examples=25)
def test_round_trip(tmp_path_factory, recipe):
    path = tmp_path_factory.mktemp("jsonl") / "x.jsonl"
    samples = generate(recipe, "test", 7, 4)
    export_jsonl(samples, path)
    again = import_jsonl(path, examples=recipe.examples, split="test", semantics=recipe.semantics)
    assert again.inputs == samples.inputs
    assert again.outputs == samples.outputs
    assert again.programs == samples.programs
    assert again.recipe.examples == recipe.examples
    assert again.recipe.held_out == recipe.held_out
    for layout in ("compact", "reference"):
        tokenizer = Tokenizer(again.recipe, layout)
        np.testing.assert_array_equal(tokenizer.encode(again), tokenizer.encode(again, backend="reference"))


def test_schema_is_the_originals(tmp_path):
    samples = generate(Recipe.paper(), "train", 0, 3)
    export_jsonl(samples, tmp_path / "x.jsonl")
    record = json.loads((tmp_path / "x.jsonl").read_text().splitlines()[1])
    assert set(record) == {"code", *(f"{kind}{k}" for kind in ("input", "output") for k in range(10))}
    actions = "; ".join(f"{action.name.lower()}()" for action in samples.programs[1].actions)
    assert record["code"] == f"def run() {{\n  {actions}\n}}"
    assert record["input3"] == samples.inputs[13].to_text()[0]


RECORD = {"input0": "####\n#>.#\n####", "output0": "####\n#.>#\n####", "code": "def run() {\n  move()\n}"}


def write(tmp_path, *records):
    path = tmp_path / "x.jsonl"
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def test_the_originals_printing_of_blocks(tmp_path):
    """Its pretty-printer loses the semicolon after a block."""
    code = "def run() {\n  if(front_is_clear()) {\n    turn_left()\n  }\n  move()\n}"
    path = write(tmp_path, {**RECORD, "code": code, "output0": "####\n#^.#\n####"})
    assert import_jsonl(path).programs[0] == kf.parse("def run() { if (front_is_clear()) { turn_left() }; move() }")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_trace_command(tmp_path, suffix, cli):
    samples = generate(Recipe.control_flow(), "train", 0, 600)
    source = tmp_path / "x.jsonl"
    export_jsonl(samples, source)
    if suffix == "parquet":
        rows = [json.loads(line) for line in source.read_text().splitlines()]
        source = tmp_path / "x.parquet"
        pq.write_table(pa.Table.from_pylist(rows), source)
    out = tmp_path / "traces.parquet"
    assert cli("trace", source, "--out", out, "--semantics", "flip")[:2] == (0, f"{out}: 6000 runs\n")
    table = pq.read_table(out).to_pylist()
    right = kf.trace(samples.compiled, samples.inputs, semantics="flip")
    for at in (0, 17, 5999):
        row, steps = table[at], right.steps[at]
        assert (row["program"], row["example"]) == divmod(at, 10)
        assert row["steps"] == steps
        assert row["actions"] == right.actions[at, :steps].tolist()
        assert row["row"] == right.robot[at, : steps + 1, 0].tolist()
        assert row["left_clear"] == right.left_clear[at, : steps + 1].tolist()
        assert row["markers_here"] == right.markers_here[at, : steps + 1].tolist()


def test_specifications_without_programs(tmp_path):
    recipe = Recipe.paper(height=5, width=6, examples=2, held_out=1, lengths=(2, 4))
    samples = generate(recipe, "test", 0, 5)
    path = tmp_path / "x.jsonl"
    export_jsonl(samples, path)
    bare = [{k: v for k, v in json.loads(line).items() if k != "code"} for line in path.read_text().splitlines()]
    inputs, outputs = import_specifications(write(tmp_path, *bare), examples=2)
    shown = samples.shown()
    assert inputs.same_text(shown[0]).all()
    assert outputs.same_text(shown[1]).all()
    assert len(import_specifications(path)[0]) == 15
    for records, examples, says in (
        ([{k: v for k, v in bare[0].items() if "out" not in k}], None, "no output0"),
        (bare, 4, "3 examples in each record; asked for are 4"),
        ([{**bare[0], "output1": "?"}], None, "outputs: world 1"),
    ):
        with pytest.raises(ValueError, match=says):
            import_specifications(write(tmp_path, *records), examples=examples)


def test_records_as_samples_of_a_models_recipe(tmp_path):
    ours = Recipe.paper(height=5, width=6, examples=2, held_out=0, lengths=(1, 6), seed=9)
    samples = generate(Recipe.paper(height=5, width=6, examples=2, held_out=1, lengths=(2, 4)), "test", 0, 5)
    path = tmp_path / "x.jsonl"
    export_jsonl(samples, path)
    found = import_for(ours, path)
    assert found.recipe == ours.replace(held_out=1)
    assert found.programs == samples.programs
    theirs = Tokenizer(samples.recipe).encode_prompts(samples)
    np.testing.assert_array_equal(Tokenizer(ours).encode_prompts(found), theirs)
    assert found.shown()[0].same_text(samples.shown()[0]).all()
    for changes, says in (
        ({"height": 6}, "5 x 6 cells; the model reads 6 x 6"),
        ({"examples": 4}, "3 worlds in each record; the model reads 4"),
        ({"lengths": (1, 2)}, "the model's are at most 2 long"),
    ):
        with pytest.raises(InputError, match=says):
            import_for(ours.replace(**changes), path)
    worlds = {f"{kind}{i}": "#####\n#>..#\n#####" for kind in ("input", "output") for i in range(2)}
    path = write(tmp_path, {"code": "def run() { while (markers_present()) { move() } }", **worlds})
    with pytest.raises(InputError, match="programs with control flow"):
        import_for(ours.replace(height=3, width=5), path)


WORLD, OTHER = "####\n#>.#\n####", "####\n#.>#\n####"
LOOP = "def run() { while (front_is_clear()) { turn_left(); turn_right() } }"


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (["{"], "line 1: not valid JSON"),
        (["[]"], "line 1: a record"),
        ([], "no records"),
        ([RECORD, {"code": RECORD["code"]}], "line 2"),
        ([{"code": "def run() { move() }"}], "no input0"),
        ([{**RECORD, "code": "def run() { jump() }"}], "line 1: .*jump"),
        ([RECORD, {**RECORD, "input0": "####\n#..#\n####"}], "line 2, input0: "),
        (["", RECORD, {**RECORD, "output0": RECORD["input0"]}], "line 3: output0"),
        ([RECORD, {**RECORD, "input1": RECORD["input0"], "output1": RECORD["output0"]}], "line 2: another number"),
        ([{**RECORD, "input1": RECORD["input0"]}], "2 inputs but 1 outputs"),
        ([{**RECORD, "code": "def run() { repeat (500) { move() } }"}], "500"),
        ([{**RECORD, "code": "def run() { " + "; ".join(["turn_left()"] * 204) + " }"}], "described"),
        ([{"code": LOOP, "input0": WORLD}], r"line 1: its program does not come to its end on input0 .*step limit"),
        ([{"code": "def run() { move() }", "input0": WORLD, "input2": WORLD}], r"line 1: it has input2 and no input1"),
        ([{"code": "def run() { move() }", "input0": WORLD},
          {"code": "def run() { move() }", "input0": WORLD, "output0": WORLD}], r"line 2: another number of outputs .*\(0\)"),
        ([{"code": "def run() { move() }", "input0": WORLD, "output0": OTHER},
          {"code": "def run() { move() }", "input0": WORLD}], r"line 2: no text output0"),
        ([{"code": "def run() { if (front_is_clear()) { } }", "input0": WORLD}], r"line 1: a program with an empty block"),
        ([{"code": "def run() { if (front_is_clear()) { } }", "input0": WORLD},
          {"code": "def run() { if (front_is_clear()) { move(); move(); move() } }", "input0": WORLD}], r"line 1: .* empty block"),
        ([{"code": "def run() { move() }", "input0": WORLD},
          {"code": "def run() { repeat (100) { move() } }", "input0": WORLD}], r"line 2: repeat"),
        ([{"code": "def run() { " + "if (front_is_clear()) { " * 9 + "move() " + "} " * 9 + "}", "input0": WORLD}],
         r"x.jsonl cannot be described by a recipe: control.depth"),
        ([{"code": "def run() { move() }", "input0": WORLD}] * 2048 + [{"code": "def run() { move() }", "input0": "###\n#>#\n###"}],
         r"x.jsonl: worlds of 3 x 3 and 3 x 4 cells"),
    ],
)  # fmt: skip
def test_wrong_files(tmp_path, records, says):
    with pytest.raises(ValueError, match=says):
        import_jsonl(write(tmp_path, *records))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_outputs_may_end_their_lines_as_inputs_do(tmp_path, end):
    record = {name: world.replace("\n", end) + end for name, world in (("input0", WORLD), ("output0", OTHER))}
    samples = import_jsonl(write(tmp_path, {"code": "def run() { move() }", **record}))
    assert samples.outputs.to_text() == [OTHER]


def test_programs_that_a_model_s_recipe_has_not(tmp_path):
    recipe = Recipe.control_flow(height=3, width=4, examples=1, held_out=0)
    control = replace(recipe.control, while_weight=0, negate=False, repeat_counts=(2, 5))
    for code, place in (
        ("while (not front_is_clear()) { move() }", 1),
        ("if (not front_is_clear()) { move() }", 2),
        ("move(); repeat (9) { move() }", 3),
    ):
        path = write(tmp_path, {"code": f"def run() {{ {code} }}", "input0": WORLD})
        with pytest.raises(InputError, match=rf"record 1: word {place} of its program"):
            import_for(recipe.replace(control=control), path)
    path = write(tmp_path, {"code": "def run() { repeat (2) { if (front_is_clear()) { move() } } }", "input0": WORLD})
    assert import_for(recipe.replace(control=control), path).outputs.to_text() == [OTHER]


def test_a_recipe_says_how_long_its_runs_are(tmp_path):
    code = "def run() { repeat (90) { repeat (15) { turn_left() } } }"
    path = write(tmp_path, {"code": code, "input0": WORLD})
    with pytest.raises(ValueError, match="within max_steps=1000"):
        import_jsonl(path)
    assert import_jsonl(path, max_steps=2000).recipe.step_limit == 90 * 15


def test_a_split_that_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"split is .foo."):
        import_jsonl(write(tmp_path, {"code": "def run() { move() }", "input0": WORLD}), split="foo")


@pytest.mark.parametrize("at", [5, 40, 120, -20, -6])
def test_a_damaged_parquet_file_is_one_line(tmp_path, at, cli):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"code": ["def run() { move() }"] * 50, "input0": [WORLD] * 50}), path)
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    code, _, error = cli("trace", path, "--out", tmp_path / "out.parquet")
    if code:
        assert (code, error.count("\n")) == (2, 1)
        assert str(path) in error
