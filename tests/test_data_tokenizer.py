"""The layouts: the text they spell, round trips, the core against NumPy and Hugging Face, the grammar."""

import numpy as np
import pytest
from grammar_walk import walk
from hypothesis import given, settings
from test_data_recipe import recipes

import karel_fast as kf
from karel_fast.data import Recipe, Tokenizer, generate
from karel_fast.data.sampling.symbols import from_symbols
from karel_fast.data.tokens.interpreter import NAMES, make_tokenizer
from karel_fast.data.tokens.registry import LAYOUTS
from karel_fast.karel.backends import available_backends

WORDS = {".": "__space__", "#": "__wall__", "^": "__up__", ">": "__right__", "v": "__down__", "<": "__left__"}
WORDS |= {str(k): f"__{k}_Marker__" for k in range(1, 10)}


def fitting(recipe, layout):
    """The recipe, with an even number of rows in its worlds where two of them are a token."""
    return recipe.replace(height=recipe.height + recipe.height % 2) if layout == "row-pairs" else recipe


def original_text(program, inputs, outputs):
    """The original's text, written from its description, independently of the tokenizer."""

    def grid(text):
        return "\n".join("".join(f" {WORDS[cell]}" for cell in row[1:-1]) for row in text.split("\n")[1:-1])

    lines = ["Examples:", ""]
    for k, (before, after) in enumerate(zip(inputs.to_text(), outputs.to_text(), strict=True)):
        lines += [f"Input{k}", grid(before), f"Output{k}", grid(after)]
    lines += ["", "Code:", "def run() {", *(f"  {a.name.lower()}()" for a in program.actions), "}"]
    return "\n".join(lines)


def test_reference_layout_is_the_original_text():
    samples = generate(Recipe.paper(), "train", 0, 20)
    tokenizer = Tokenizer(samples.recipe, "reference")
    inputs, outputs = samples.shown()
    for i, row in enumerate(tokenizer.encode(samples)):
        part = slice(5 * i, 5 * i + 5)
        assert tokenizer.decode(row) == original_text(samples.programs[i], inputs[part], outputs[part])
        assert (row != tokenizer.pad_id).sum() == 812 + 3 * samples.lengths[i]
    assert tokenizer.sequence_length == 812 + 30


def test_compact_layout():
    samples = generate(Recipe.paper(), "train", 0, 3)
    tokenizer = Tokenizer(samples.recipe)
    row = tokenizer.encode(samples)[0]
    assert tokenizer.sequence_length == 382
    assert tokenizer.prompt_length == 5 * 2 * 37 + 1
    inputs, outputs = samples.shown()
    lines = tokenizer.decode(row).split("\n")
    for k in range(5):
        for at, name, worlds in ((14 * k, "input", inputs), (14 * k + 7, "output", outputs)):
            assert lines[at] == name
            assert lines[at + 1 : at + 7] == [" ".join(r[1:-1]) for r in worlds.to_text()[k].split("\n")[1:-1]]
    assert lines[-1] == " ".join(["code", *(a.name.lower() for a in samples.programs[0].actions), "<end>"])


@pytest.mark.parametrize("layout", LAYOUTS)
@given(recipe=recipes())
@settings(max_examples=20)
def test_core_equals_numpy(layout, recipe):
    recipe = fitting(recipe, layout)
    samples = generate(recipe, "train", 3, 12)
    tokenizer = Tokenizer(recipe, layout)
    rows = tokenizer.encode(samples, backend="reference")
    assert rows.shape == (12, tokenizer.sequence_length)
    plain = np.uint8 if tokenizer.vocab_size <= 256 else np.uint16
    code = tokenizer.row_code
    assert rows.dtype == (plain if code is None else np.int32 if code.tokens <= 2**31 else np.int64)
    np.testing.assert_array_equal(rows[:, : tokenizer.prompt_length], tokenizer.encode_prompts(samples))
    for backend in available_backends():
        for threads in (1, 2, 7):
            np.testing.assert_array_equal(tokenizer.encode(samples, backend=backend, threads=threads), rows)
    np.testing.assert_array_equal(tokenizer.generate("train", 3, 12), rows)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(recipe=recipes())
@settings(max_examples=20)
def test_tokens_say_which_symbols_they_spell(layout, recipe):
    recipe = fitting(recipe, layout)
    samples = generate(recipe, "train", 0, 6)
    tokenizer = Tokenizer(recipe, layout)
    for row, program in zip(tokenizer.encode(samples), samples.programs, strict=True):
        assert from_symbols(tokenizer.symbols(row[tokenizer.prompt_length :])) == program


@given(recipe=recipes())
@settings(max_examples=20)
def test_the_reference_text_is_source(recipe):
    samples = generate(recipe, "train", 0, 6)
    tokenizer = Tokenizer(recipe, "reference")
    for row, program in zip(tokenizer.encode(samples), samples.programs, strict=True):
        text = tokenizer.decode(row)
        body = text[text.index("def run()") :].replace("\n}", ";}").replace(" }\n", " };")
        source = body.replace("()\n", "(); ").replace("};    else", "} else").replace("\n", " ")
        source = " ".join(source.split()).replace("}; else", "} else").replace("; }", " }").replace(";}", "}")
        assert kf.parse(source.replace("; }", " }")) == program


@pytest.mark.parametrize("layout", [name for name, layout in LAYOUTS.items() if layout.rows_per_token is None])
@pytest.mark.parametrize("preset", ["paper", "control-flow"])
def test_hugging_face_gives_the_same_ids(layout, preset):
    samples = generate(Recipe.preset(preset), "train", 0, 25)
    tokenizer = Tokenizer(samples.recipe, layout)
    theirs = tokenizer.to_hf()
    assert (theirs.pad_token_id, theirs.eos_token_id, theirs.padding_side) == (
        tokenizer.pad_id, tokenizer.end_id, "right",
    )  # fmt: skip
    assert len(theirs) == tokenizer.vocab_size
    for row in tokenizer.encode(samples):
        ids = row[: np.flatnonzero(row)[-1] + 1].tolist()
        text = tokenizer.decode(row)
        assert theirs(text)["input_ids"] == ids
        decoded = theirs.decode(ids)
        assert decoded == (text if layout == "reference" else " ".join(text.split()))


@pytest.mark.parametrize("layout", LAYOUTS)
@given(recipe=recipes())
@settings(max_examples=20)
def test_grammar_accepts_samples(layout, recipe):
    recipe = fitting(recipe, layout)
    samples = generate(recipe, "train", 0, 8)
    tokenizer = Tokenizer(recipe, layout)
    grammar = tokenizer.grammar()
    for row in tokenizer.encode(samples):
        walk(grammar, row[tokenizer.prompt_length :])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("preset", ["paper", "control-flow"])
def test_every_walk_through_the_grammar_is_a_program(layout, preset):
    recipe = Recipe.preset(preset)
    tokenizer = Tokenizer(recipe, layout)
    grammar = tokenizer.grammar()
    assert grammar.allowed.any(axis=1).all(), "no state is a dead end"
    draws = np.random.Generator(np.random.Philox(5))
    ended = 0
    for _ in range(200):
        state, tokens = grammar.start_state, []
        while len(tokens) < 120 and (not tokens or tokens[-1] != tokenizer.end_id):
            choices = np.flatnonzero(grammar.allowed[state])
            tokens.append(tokenizer.end_id if tokenizer.end_id in choices else int(draws.choice(choices)))
            state = grammar.next_state[state, tokens[-1]]
        if tokens[-1] == tokenizer.end_id:
            program = from_symbols(tokenizer.symbols(tokens))
            assert kf.parse(str(program)) == program
            ended += 1
            assert grammar.allowed[state].sum() == 1
            assert grammar.allowed[state, tokenizer.pad_id]
    assert ended > 50
    assert not grammar.allowed[grammar.start_state, tokenizer.end_id], "a program is not empty"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_action_positions(layout):
    samples = generate(Recipe.paper(), "train", 0, 30)
    tokenizer = Tokenizer(samples.recipe, layout)
    rows, positions = tokenizer.encode(samples), tokenizer.action_positions(samples)
    assert positions.shape == samples.actions.shape
    used = samples.actions < 255
    np.testing.assert_array_equal(positions >= 0, used)
    predicted = np.take_along_axis(rows, np.where(used, positions + 1, 0), axis=1)
    np.testing.assert_array_equal(np.array(tokenizer.action_ids)[samples.actions[used]], predicted[used])
    if layout != "reference":
        assert (positions[:, 0] == tokenizer.prompt_length - 1).all()


def test_more_than_nine_markers_show_as_nine():
    recipe = Recipe(lengths=(12, 12), action_weights=(0, 0, 0, 0, 1), marker_probability=1, wall_probability=0)
    samples = generate(recipe, count=3)
    moved = samples.outputs.robot.copy()
    moved[:, 1] = np.where(moved[:, 1] == 1, 2, 1)
    outputs = kf.Worlds(walls=samples.outputs.walls, markers=samples.outputs.markers, robot=moved)
    changed = type(samples)(recipe, "train", 0, samples.symbols, samples.lengths, samples.inputs, outputs)
    for layout in LAYOUTS:
        tokenizer = Tokenizer(recipe, layout)
        rows = tokenizer.encode(changed)
        assert (tokenizer.shown_cells(rows) == 9).sum() == 3 * recipe.examples
        np.testing.assert_array_equal(rows, tokenizer.encode(changed, backend="reference"))


def test_wide_vocabularies():
    recipe = Recipe(examples=120 - 20, held_out=0, height=3, width=4, lengths=(1, 2))
    tokenizer = Tokenizer(recipe, "reference")
    assert tokenizer.dtype == np.uint8
    control = Recipe.control_flow(examples=100, held_out=0).control
    wide = recipe.replace(control=type(control)(repeat_weight=1, repeat_counts=(0, 99)), lengths=(2, 3))
    tokenizer = Tokenizer(wide, "reference")
    assert tokenizer.dtype == np.uint16
    samples = generate(wide, count=4)
    np.testing.assert_array_equal(tokenizer.encode(samples), tokenizer.encode(samples, backend="reference"))


@pytest.mark.parametrize("backend", available_backends())
@pytest.mark.parametrize("preset", ["paper", "control-flow"])
@pytest.mark.parametrize("layout", NAMES)
def test_no_samples_are_no_rows(layout, preset, backend):
    recipe = Recipe.preset(preset)
    tokenizer, none = make_tokenizer(recipe, layout), generate(recipe, count=2)[:0]
    assert tokenizer.encode(none, backend=backend).shape == (0, tokenizer.sequence_length)
    assert tokenizer.generate("train", 5, 0, backend=backend).shape == (0, tokenizer.sequence_length)
    assert tokenizer.encode_prompts(none).shape == (0, tokenizer.prompt_length)


def test_wrong_input():
    samples = generate(Recipe.paper(), count=1)
    with pytest.raises(ValueError, match="layout is 'refrence'; did you mean 'reference'"):
        Tokenizer(samples.recipe, "refrence")
    with pytest.raises(ValueError, match="another"):
        Tokenizer(Recipe.paper(width=9)).encode(samples)
    with pytest.raises(ValueError, match="token 99 at position 1"):
        Tokenizer(samples.recipe).decode([0, 99])
    flow = generate(Recipe.control_flow(), count=1)
    with pytest.raises(ValueError, match="control flow"):
        Tokenizer(flow.recipe).action_positions(flow)
