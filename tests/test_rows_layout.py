"""The layouts with a token for one or two rows of a world: their numbers, their model beside the stock one, its losses and its programs."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import karel_fast as kf
from karel_fast.data.tokens.compact import CompactLayout
from karel_fast.data.tokens.registry import LAYOUTS
from karel_fast.karel.world import CELL_SIGNS
from karel_fast.model import Capture, Transformer, from_hf, to_hf
from karel_fast.model.decode import write_programs
from karel_fast.model.rows import target_losses
from karel_fast.model.scoring import hidden_states
from karel_fast.model.transformer import model_config
from karel_fast.runs.origin import origin
from karel_fast.runs.snapshots import write_snapshot
from karel_fast.support.checks import InputError
from karel_fast.support.row_code import RowCode
from karel_fast.training.evaluate import check_vocabulary
from karel_fast.training.targets import loss_sum
from karel_fast.training.text import prompt_metrics, token_losses

WORDS = 25  # tokens of the compact layout


class Case:
    """A layout, and samples in it."""

    def __init__(self, layout: str, height: int, width: int) -> None:
        self.layout = layout
        self.recipe = kf.data.Recipe(height=height, width=width, examples=2, held_out=0, lengths=(1, 4))
        self.tokenizer, self.compact = kf.data.Tokenizer(self.recipe, layout), kf.data.Tokenizer(self.recipe)

    @cached_property
    def samples(self) -> kf.data.Samples:
        return kf.data.generate(self.recipe, "train", 0, 12)

    @property
    def cells(self) -> int:
        return self.tokenizer.cells_per_token

    def model(self, seed: int = 0) -> Transformer:
        torch.manual_seed(seed)
        tokenizer = self.tokenizer
        config = model_config(
            tokenizer.vocab_size, tokenizer.sequence_length, layers=2, width=16, heads=4, prompt_length=tokenizer.prompt_length,
            row_code=tokenizer.row_code,
        )  # fmt: skip
        model = Transformer(config).eval()
        for parameter in model.parameters():  # biases and norms that do something
            torch.nn.init.normal_(parameter, std=0.3)
        return model


ROWS = Case("rows", 5, 6)
PAIRS = Case("row-pairs", 6, 8)  # 12 cells, as in the paper's worlds
both = pytest.mark.parametrize("case", [ROWS, PAIRS], ids=lambda case: case.layout)


def test_a_row_is_a_number_in_base_15() -> None:
    code = RowCode(words=25, cells=3, signs=15)
    signs = np.array([[0, 0, 0], [1, 2, 3], [14, 14, 14]])
    assert code.join(signs).tolist() == [25, 25 + 225 + 30 + 3, 25 + 15**3 - 1]
    assert (code.tokens, code.columns) == (25 + 3375, 25 + 45)
    np.testing.assert_array_equal(np.stack([code.sign(code.join(signs), cell) for cell in range(3)], -1), signs)


def test_as_many_cells_as_can_be_numbered() -> None:
    """Powers of two are where a logarithm in floating point would be one too many."""
    for words, signs, cells in ((25, 15, 16), (2, 2, 62), (2, 8, 20)):
        code = RowCode(words, cells, signs)
        assert code.most_cells == cells
        assert code.tokens <= 2**63 < RowCode(words, cells + 1, signs).tokens


@pytest.mark.parametrize(("case", "rows", "dtype"), [(ROWS, 3, np.int32), (PAIRS, 2, np.int64)])
def test_the_rows_say_what_the_compact_layout_says(case: Case, rows: int, dtype: type) -> None:
    tokenizer, compact, samples = case.tokenizer, case.compact, case.samples
    tokens, plain = tokenizer.encode(samples), compact.encode(samples)
    assert (tokens.shape, tokens.dtype) == ((12, 2 * 2 * (1 + rows) + 1 + 4 + 1), dtype)
    assert [tokenizer.decode(row) for row in tokens] == [compact.decode(row) for row in plain]
    np.testing.assert_array_equal(tokenizer.shown_cells(tokens), compact.shown_cells(plain))
    np.testing.assert_array_equal(tokens[:, tokenizer.prompt_length :], plain[:, compact.prompt_length :])
    np.testing.assert_array_equal(tokenizer.encode_prompts(samples), tokens[:, : tokenizer.prompt_length])
    interior = "".join(line[1:-1] for line in samples.inputs.to_text()[0].splitlines()[1:-1])
    number = sum(
        CELL_SIGNS.index(sign) * 15 ** (case.cells - 1 - place) for place, sign in enumerate(interior[: case.cells])
    )
    assert tokens[0, 1] == WORDS + number


@both
@pytest.mark.parametrize("backend", ["cpp", "numba", "reference"])
def test_every_backend_writes_the_same_rows(case: Case, backend: str) -> None:
    rows = case.tokenizer.encode(case.samples)
    np.testing.assert_array_equal(case.tokenizer.encode(case.samples, backend=backend), rows)
    np.testing.assert_array_equal(case.tokenizer.generate("train", 0, 12, backend=backend), rows)


@both
def test_positions_are_those_of_the_tokens(case: Case) -> None:
    tokenizer, samples = case.tokenizer, case.samples
    rows = tokenizer.encode(samples)
    at = tokenizer.action_positions(samples)
    for row, places, actions, length in zip(rows, at, samples.actions, samples.lengths, strict=True):
        assert row[places[:length] + 1].tolist() == [tokenizer.action_ids[action] for action in actions[:length]]
    empty = tokenizer.empty_prompt[tokenizer.output_positions]
    assert set(empty.tolist()) == {WORDS + CELL_SIGNS.index(".") * sum(15**k for k in range(case.cells))}


def test_the_empty_prompt_is_empty_in_every_layout() -> None:
    for name in ("compact", "reference", "rows", "row-pairs"):
        tokenizer = kf.data.Tokenizer(PAIRS.recipe, name)
        shown = tokenizer.shown_cells(tokenizer.empty_prompt[None])
        np.testing.assert_array_equal(shown, np.full((1, 2, 2, 24), CELL_SIGNS.index(".")))


def test_worlds_that_cannot_be_numbered_are_refused() -> None:
    recipe = PAIRS.recipe
    with pytest.raises(
        ValueError, match="up to 16 cells by a token; worlds 19 wide have 17 in 1 rows: use the compact layout"
    ):
        kf.data.Tokenizer(recipe.replace(width=19), "rows")
    with pytest.raises(
        ValueError, match="up to 16 cells by a token; worlds 11 wide have 18 in 2 rows: use the compact layout"
    ):
        kf.data.Tokenizer(recipe.replace(width=11), "row-pairs")
    with pytest.raises(
        ValueError, match="one token of 2 rows; worlds 7 high have 5 between their walls: use the rows or the"
    ):
        kf.data.Tokenizer(recipe.replace(height=7), "row-pairs")


@pytest.mark.parametrize(("layout", "width"), [("rows", 18), ("row-pairs", 10)])
def test_the_largest_tokens_there_are(layout: str, width: int) -> None:
    """16 cells: numbers up to 6.6e18, of the 9.2e18 that an int64 has."""
    recipe = PAIRS.recipe.replace(width=width, marker_probability=1, wall_probability=0)
    tokenizer, compact = kf.data.Tokenizer(recipe, layout), kf.data.Tokenizer(recipe)
    samples = kf.data.generate(recipe, "train", 0, 20)
    rows = tokenizer.encode(samples)
    assert tokenizer.cells_per_token == 16
    assert rows.max() > 2**61
    np.testing.assert_array_equal(tokenizer.shown_cells(rows), compact.shown_cells(compact.encode(samples)))
    assert [tokenizer.decode(row) for row in rows] == [compact.decode(row) for row in compact.encode(samples)]


def test_cells_that_stand_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Apart(CompactLayout):
        """A word after every row."""

        name = "apart"
        rows_per_token = 2

        def vocabulary(self) -> Sequence[str]:
            return (*super().vocabulary(), "/")

        def prompt(self) -> Sequence[str]:
            row = [self.cell_words[0]] * (self.recipe.width - 2) + ["/"]
            return [
                "input",
                *row * (self.recipe.height - 2),
                "output",
                *row * (self.recipe.height - 2),
            ] * self.recipe.examples + ["code"]

    monkeypatch.setitem(LAYOUTS, "apart", Apart)
    with pytest.raises(ValueError, match="next to each other; in its rows of worlds they stand 1 apart, and rows 7"):
        kf.data.Tokenizer(PAIRS.recipe, "apart")
    monkeypatch.setattr(Apart, "rows_per_token", 1)
    assert kf.data.Tokenizer(PAIRS.recipe, "apart").cells_per_token == 6
    monkeypatch.setattr(Apart, "rows_per_token", 0)
    with pytest.raises(ValueError, match="the apart layout's rows_per_token is 0"):
        kf.data.Tokenizer(PAIRS.recipe, "apart")


@both
def test_tokens_outside_the_code_are_refused(case: Case) -> None:
    most = WORDS + 15**case.cells
    with pytest.raises(ValueError, match=f"token {most} at position 0 is outside 0..{most - 1}"):
        case.tokenizer.decode([most])
    with pytest.raises(ValueError, match="cannot be listed"):
        case.tokenizer.to_hf()
    rows = case.tokenizer.encode(case.samples)
    rows[3, 2] = most
    for token in (most, -1):
        rows[3, 2] = token
        with pytest.raises(IndexError):
            case.model()(torch.from_numpy(rows))
    rows[3, 2] = most
    with pytest.raises(ValueError, match=f"tokens has token {most} in row 3 at position 2"):
        list(hidden_states(case.model(), rows, Capture("mean"), compile=False))


def sums(model: Transformer, tokens: np.ndarray, cells: int) -> torch.Tensor:
    """What the model's embedding should give, written out cell by cell."""
    weight, out = model.wte.weight.detach(), torch.zeros(*tokens.shape, model.config.n_embd)
    for i, row in enumerate(tokens):
        for k, token in enumerate(row.tolist()):
            if token < WORDS:
                out[i, k] = weight[token]
                continue
            for cell in range(cells - 1, -1, -1):
                token, sign = (token - WORDS) // 15 + WORDS, (token - WORDS) % 15
                out[i, k] += weight[WORDS + 15 * cell + sign]
    return out


@both
def test_the_stock_model_gives_the_same_logits_for_the_sums(case: Case, tmp_path: Path) -> None:
    from transformers import CodeGenForCausalLM

    model, rows = case.model(), case.tokenizer.encode(case.samples)
    tokens = torch.from_numpy(rows.astype(np.int64))
    np.testing.assert_allclose(model.wte(tokens).detach(), sums(model, rows, case.cells), atol=1e-6)
    to_hf(model, tmp_path)
    stock = CodeGenForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        theirs = stock(inputs_embeds=sums(model, rows, case.cells)).logits
        np.testing.assert_allclose(model(tokens), theirs, atol=2e-5)
        again = from_hf(tmp_path)
        assert torch.equal(again(tokens), model(tokens))
    assert (again.row_code, again.tokens, again.words) == (case.tokenizer.row_code, WORDS + 15**case.cells, WORDS)


def test_a_snapshot_has_no_list_of_its_tokens(tmp_path: Path) -> None:
    folder = write_snapshot(tmp_path, 0, ROWS.model(), {"layout": "rows"}, ROWS.tokenizer)
    assert not (folder / "tokenizer.json").exists()
    assert from_hf(folder).row_code == ROWS.tokenizer.row_code


def test_a_config_that_says_half_of_it_is_refused() -> None:
    config = ROWS.model().config
    config.row_signs = None
    with pytest.raises((ValueError, TypeError), match="row_signs"):
        Transformer(config)
    config.row_signs = 40
    with pytest.raises(ValueError, match="vocab_size=85 with row_cells=4, row_signs=40"):
        Transformer(config)


def by_hand(logits: torch.Tensor, targets: torch.Tensor, cells: int) -> torch.Tensor:
    out = torch.zeros(targets.shape)
    for i, row in enumerate(targets.tolist()):
        for k, token in enumerate(row):
            if 0 < token < WORDS:
                out[i, k] = F.cross_entropy(logits[i, k][None], torch.tensor([token]))
            elif token >= WORDS:
                for cell in range(cells):
                    sign = (token - WORDS) // 15 ** (cells - 1 - cell) % 15
                    there = logits[i, k, WORDS + 15 * cell : WORDS + 15 * (cell + 1)]
                    out[i, k] += F.cross_entropy(there[None], torch.tensor([sign]))
    return out


@both
def test_a_row_costs_what_its_cells_cost(case: Case) -> None:
    tokenizer, compact, model = case.tokenizer, case.compact, case.model()
    rows = tokenizer.encode(case.samples)
    tokens = torch.from_numpy(rows.astype(np.int64))
    logits, targets = model(tokens[:, :-1]).detach(), tokens[:, 1:]
    losses = target_losses(logits, targets, 0, tokenizer.row_code)
    np.testing.assert_allclose(losses, by_hand(logits, targets, case.cells), atol=1e-5)
    np.testing.assert_allclose(loss_sum(model, tokens, 0, 0).item(), losses.sum().item(), rtol=1e-5)
    ours = token_losses(model, rows, 0, compile_model=False)
    np.testing.assert_allclose(ours, losses, atol=1e-5)
    metrics = prompt_metrics(tokenizer, rows, ours)
    plain = prompt_metrics(compact, compact.encode(case.samples), np.zeros((12, compact.sequence_length - 1)))
    for name in ("unigram_output_loss", "copy_output_loss", "uniform_cell_loss", "unigram_program_loss"):
        assert metrics[name] == pytest.approx(plain[name])
    # The first output's rows stand after "input", the input's rows and "output"; the losses begin with the second token.
    world = (case.recipe.height - 2) * (case.recipe.width - 2)
    rows_of_world = world // case.cells
    first = rows_of_world + 1
    assert metrics["output_loss"][0] == pytest.approx(
        ours[:, first : first + rows_of_world].sum() / (12 * world), rel=1e-5
    )


@both
def test_decoding_writes_words_only(case: Case) -> None:
    prompts = case.tokenizer.encode_prompts(case.samples)
    for seed in range(3):
        for constrained in (True, False):
            made = write_programs(
                case.model(seed),
                prompts,
                case.tokenizer.grammar(),
                5,
                pad_id=0,
                end_id=1,
                constrained=constrained,
                compile=False,
            )
            assert made.tokens.max() < WORDS
            assert made.valid.all() or not constrained


@both
def test_a_compiled_step_has_the_same_loss_and_gradients(case: Case) -> None:
    """Words and rows are told apart by where their numbers are: compiled code must divide negative ones alike."""
    tokens = torch.from_numpy(case.tokenizer.encode(case.samples).astype(np.int64))
    found = []
    for compile_it in (False, True):
        model = case.model()
        run = torch.compile(loss_sum, fullgraph=True) if compile_it else loss_sum
        loss = run(model, tokens, 0, 0)
        loss.backward()
        found.append((loss.detach(), model.wte.weight.grad, model.lm_head.weight.grad))
    for plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-4)


def test_a_model_of_words_is_none_of_rows(tmp_path: Path) -> None:
    """The sizes of their tables may be equal."""
    tokenizer = ROWS.tokenizer
    config = model_config(tokenizer.vocab_size, tokenizer.sequence_length, layers=1, width=16, heads=4)
    to_hf(Transformer(config), tmp_path)
    with pytest.raises(
        InputError,
        match=r"has 85 tokens, which are not those of layout rows \(25 tokens and rows of 4 cells with 15 signs\)",
    ):
        origin(tmp_path, ROWS.recipe, "rows")
    with pytest.raises(ValueError, match="not the same vocabulary"):
        check_vocabulary(Transformer(config), tokenizer)
