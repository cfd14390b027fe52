"""Layouts of one's own, as `docs/extending-layouts.md` shows them, and what a layout must not do."""

import re
from pathlib import Path

import numpy as np
import pytest
from evaluated_model import PLAIN, shape
from grammar_walk import walk

import karel_fast as kf
from karel_fast.data import Recipe, Tokenizer, generate
from karel_fast.data.sampling.symbols import REPEAT, from_symbols
from karel_fast.data.tokens.compact import CompactLayout
from karel_fast.data.tokens.reference import ReferenceLayout
from karel_fast.data.tokens.registry import LAYOUTS
from karel_fast.karel.backends import available_backends
from karel_fast.karel.world import CELL_SIGNS, ROBOT_SIGNS
from karel_fast.model import Transformer
from karel_fast.training.evaluate import evaluate

DOCUMENT = Path(__file__).parents[1] / "docs" / "extending-layouts.md"
RECIPE = Recipe(height=6, width=6, examples=2, held_out=0, lengths=(1, 4))
OWN = ("slashed", "semicolons")


@pytest.fixture(scope="module", autouse=True)
def own_layouts():
    """The layouts of the document's code, for this module alone."""
    before = dict(LAYOUTS)
    exec("\n".join(re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)), {"__name__": "own"})
    assert set(LAYOUTS) - set(before) == set(OWN)
    yield
    LAYOUTS.clear()
    LAYOUTS.update(before)


@pytest.mark.parametrize("layout", OWN)
@pytest.mark.parametrize("backend", available_backends())
def test_rows_and_back(layout, backend):
    samples = generate(RECIPE, count=20)
    tokenizer = Tokenizer(RECIPE, layout)
    rows = tokenizer.encode(samples, backend=backend)
    np.testing.assert_array_equal(rows, tokenizer.encode(samples, backend="reference"))
    np.testing.assert_array_equal(rows, tokenizer.generate("train", 0, 20, backend=backend))
    theirs = tokenizer.to_hf()
    for row, program in zip(rows, samples.programs, strict=True):
        assert from_symbols(tokenizer.symbols(row[tokenizer.prompt_length :])) == program
        assert theirs(tokenizer.decode(row))["input_ids"] == [token for token in row if token != tokenizer.pad_id]


def test_texts():
    samples = generate(RECIPE, count=1)
    before = samples.shown()[0].to_text()[0].split("\n")[1:-1]
    for layout, between in (("slashed", " "), ("semicolons", " ; ")):
        text = Tokenizer(RECIPE, layout).decode(Tokenizer(RECIPE, layout).encode(samples)[0])
        assert text.startswith("before " + " ".join(" ".join(row[1:-1]) + " /" for row in before) + " after ")
        names = [action.name for action in samples.programs[0].actions]
        assert text.endswith(" program " + between.join(names) + between + "<end>")


@pytest.mark.parametrize("layout", OWN)
def test_a_model_decodes_under_the_grammar(layout):
    samples = generate(RECIPE, "test", count=4)
    tokenizer = Tokenizer(RECIPE, layout)
    grammar = tokenizer.grammar()
    for row in tokenizer.encode(samples):
        walk(grammar, row[tokenizer.prompt_length :])
    written = evaluate(Transformer(shape(tokenizer)), tokenizer, samples, **PLAIN).generated
    for row, actions, length in zip(written.tokens, written.actions, written.lengths, strict=True):
        assert tokenizer.symbols(row) == actions[:length].tolist()
        assert length >= 1


@pytest.mark.parametrize("layout", ["compact", "reference", "rows", "row-pairs", *OWN])
def test_the_token_before_an_action_predicts_it(layout):
    samples = generate(RECIPE, count=9)
    tokenizer = Tokenizer(RECIPE, layout)
    rows, positions = tokenizer.encode(samples), tokenizer.action_positions(samples)
    for row, places, program in zip(rows, positions, samples.programs, strict=True):
        assert tokenizer.symbols(row[places[places >= 0] + 1]) == list(program.actions)


class Halved(CompactLayout):
    """Shows only the inputs."""

    name = "halved"

    def prompt(self):
        return super().prompt()[: len(super().prompt()) // 2]


class Uneven(CompactLayout):
    """One word between the first two cells only."""

    name = "uneven"

    def prompt(self):
        words = list(super().prompt())
        return [*words[:2], "code", *words[2:]]


class Twice(CompactLayout):
    name = "twice"

    def vocabulary(self):
        return (*super().vocabulary(), "move")


class Wordless(CompactLayout):
    name = "wordless"

    def vocabulary(self):
        return [word for word in super().vocabulary() if word != "turn_left"]


class Scattered(CompactLayout):
    name = "scattered"
    cell_words = tuple(reversed(CompactLayout.cell_words))

    def vocabulary(self):
        words = super().vocabulary()
        return (*words[:5], *CompactLayout.cell_words, *words[20:])


class Doubled(CompactLayout):
    """Writes every symbol twice, and still claims to write symbols."""

    name = "doubled"

    def encode_program(self, symbols):
        return [token for token in super().encode_program(symbols) for _ in range(2)]


class Spaced(ReferenceLayout):
    """Writes programs its own way, and leaves the compiled core to write the parent's."""

    name = "spaced"

    def encode_program(self, symbols):
        return [*super().encode_program(symbols), self.token_ids["run"]]


class Lengthy(Doubled):
    """Forgets that its programs take more room."""

    name = "lengthy"
    program_writer = None


class Unknown(CompactLayout):
    name = "unknown"
    program_writer = "columns"


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        (Halved, "shows 32 cells; this recipe has 64"),
        (Uneven, "space the cells of every world alike"),
        (Twice, "'move' twice"),
        (Wordless, "lacks 'turn_left'"),
        (Scattered, "cell_words next to each other"),
        (Doubled, 'set program_writer to None'),
        (Spaced, "Spaced writes programs its own way .* set program_writer to None"),
    ],
)  # fmt: skip
def test_layouts_that_do_not_hold_up(layout, says):
    with pytest.raises(ValueError, match=says):
        layout(RECIPE)


@pytest.mark.parametrize("layout", ["compact", "reference", "rows", "row-pairs", *OWN])
@pytest.mark.parametrize("backend", available_backends())
def test_a_symbol_without_a_token(layout, backend):
    samples = generate(RECIPE, count=2)
    symbols = samples.symbols.copy()
    symbols[1, 0] = REPEAT
    blocks = type(samples)(RECIPE, "train", 0, symbols, samples.lengths, samples.inputs, samples.outputs)
    with pytest.raises(ValueError, match=f"symbol {REPEAT}, for which the"):
        Tokenizer(RECIPE, layout).encode(blocks, backend=backend)


def test_a_program_longer_than_was_promised(monkeypatch):
    monkeypatch.setitem(LAYOUTS, Lengthy.name, Lengthy)
    samples = generate(RECIPE.replace(lengths=(4, 4)), count=2)
    with pytest.raises(ValueError, match=r"takes 9 tokens with its end.* room for 5: correct Lengthy.longest_program"):
        Tokenizer(samples.recipe, "lengthy").encode(samples)


@pytest.mark.skipif("cpp" not in available_backends(), reason="no compiled core")
def test_a_way_of_writing_that_the_core_lacks(monkeypatch):
    monkeypatch.setitem(LAYOUTS, Unknown.name, Unknown)
    with pytest.raises(ValueError, match="called 'columns'; it has 'symbols' and 'lines'"):
        Tokenizer(RECIPE, "unknown").generate("train", 0, 2, backend="cpp")


def test_cells_show_what_texts_show():
    worlds = kf.Worlds.random(30, 6, 7, seed=3)
    for cells, text in zip(worlds.cells(), worlds.to_text(), strict=True):
        assert ["".join(CELL_SIGNS[cell] for cell in row) for row in cells] == text.split("\n")
    assert CELL_SIGNS.endswith(ROBOT_SIGNS)
