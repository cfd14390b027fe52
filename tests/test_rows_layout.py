"""The layout with a token for every row of a world: its numbers, its model beside the stock one, its losses and its programs."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import karel_fast as kf
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
from karel_fast.training.loop import loss_sum
from karel_fast.training.text import prompt_metrics, token_losses

RECIPE = kf.data.Recipe(height=5, width=6, examples=2, held_out=0, lengths=(1, 4))
SAMPLES = kf.data.generate(RECIPE, "train", 0, 12)
ROWS, COMPACT = kf.data.Tokenizer(RECIPE, "rows"), kf.data.Tokenizer(RECIPE)


def make_model(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    config = model_config(
        ROWS.vocab_size, ROWS.sequence_length, layers=2, width=16, heads=4, prompt_length=ROWS.prompt_length,
        row_code=ROWS.row_code,
    )  # fmt: skip
    model = Transformer(config).eval()
    for parameter in model.parameters():  # biases and norms that do something
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_a_row_is_a_number_in_base_15() -> None:
    code = RowCode(words=25, cells=3, signs=15)
    signs = np.array([[0, 0, 0], [1, 2, 3], [14, 14, 14]])
    assert code.join(signs).tolist() == [25, 25 + 225 + 30 + 3, 25 + 15**3 - 1]
    assert (code.tokens, code.columns) == (25 + 3375, 25 + 45)
    np.testing.assert_array_equal(np.stack([code.sign(code.join(signs), cell) for cell in range(3)], -1), signs)


def test_the_rows_say_what_the_compact_layout_says() -> None:
    rows, plain = ROWS.encode(SAMPLES), COMPACT.encode(SAMPLES)
    assert (rows.shape, rows.dtype) == ((12, 2 * 2 * (1 + 3) + 1 + 4 + 1), np.int32)
    assert [ROWS.decode(row) for row in rows] == [COMPACT.decode(row) for row in plain]
    np.testing.assert_array_equal(ROWS.shown_cells(rows), COMPACT.shown_cells(plain))
    np.testing.assert_array_equal(rows[:, ROWS.prompt_length :], plain[:, COMPACT.prompt_length :])
    np.testing.assert_array_equal(ROWS.encode_prompts(SAMPLES), rows[:, : ROWS.prompt_length])
    first = SAMPLES.inputs.to_text()[0].splitlines()[1][1:-1]
    number = sum(CELL_SIGNS.index(sign) * 15 ** (3 - place) for place, sign in enumerate(first))
    assert rows[0, 1] == len(ROWS.tokens) + number


@pytest.mark.parametrize("backend", ["cpp", "numba", "reference"])
def test_every_backend_writes_the_same_rows(backend: str) -> None:
    np.testing.assert_array_equal(ROWS.encode(SAMPLES, backend=backend), ROWS.encode(SAMPLES))
    np.testing.assert_array_equal(ROWS.generate("train", 0, 12, backend=backend), ROWS.encode(SAMPLES))


def test_positions_are_those_of_the_tokens() -> None:
    rows = ROWS.encode(SAMPLES)
    at = ROWS.action_positions(SAMPLES)
    for row, places, actions, length in zip(rows, at, SAMPLES.actions, SAMPLES.lengths, strict=True):
        assert row[places[:length] + 1].tolist() == [ROWS.action_ids[action] for action in actions[:length]]
    empty = ROWS.empty_prompt[ROWS.output_positions]
    assert set(empty.tolist()) == {len(ROWS.tokens) + CELL_SIGNS.index(".") * (15**3 + 15**2 + 15 + 1)}


def test_the_empty_prompt_is_empty_in_every_layout() -> None:
    for name in ("compact", "reference", "rows"):
        tokenizer = kf.data.Tokenizer(RECIPE, name)
        shown = tokenizer.shown_cells(tokenizer.empty_prompt[None])
        np.testing.assert_array_equal(shown, np.full((1, 2, 2, 12), CELL_SIGNS.index(".")))


def test_worlds_too_wide_to_be_numbered_are_refused() -> None:
    with pytest.raises(ValueError, match="rows of up to 7 cells; worlds 10 wide have 8"):
        kf.data.Tokenizer(RECIPE.replace(width=10), "rows")
    kf.data.Tokenizer(RECIPE.replace(width=9), "rows")


def test_tokens_outside_the_code_are_refused() -> None:
    most = 25 + 15**4
    with pytest.raises(ValueError, match=f"token {most} at position 0 is outside 0..{most - 1}"):
        ROWS.decode([most])
    with pytest.raises(ValueError, match="cannot be listed"):
        ROWS.to_hf()
    rows = ROWS.encode(SAMPLES)
    rows[3, 2] = most
    with pytest.raises(ValueError, match=f"tokens reach {most}"):
        list(hidden_states(make_model(), rows, Capture("mean"), compile=False))


def sums(model: Transformer, tokens: np.ndarray) -> torch.Tensor:
    """What the model's embedding should give, written out cell by cell."""
    weight, out = model.wte.weight.detach(), torch.zeros(*tokens.shape, model.config.n_embd)
    for i, row in enumerate(tokens):
        for k, token in enumerate(row.tolist()):
            if token < 25:
                out[i, k] = weight[token]
                continue
            for cell in range(3, -1, -1):
                token, sign = (token - 25) // 15 + 25, (token - 25) % 15
                out[i, k] += weight[25 + 15 * cell + sign]
    return out


def test_the_stock_model_gives_the_same_logits_for_the_sums(tmp_path: Path) -> None:
    from transformers import CodeGenForCausalLM

    model, rows = make_model(), ROWS.encode(SAMPLES)
    tokens = torch.from_numpy(rows.astype(np.int64))
    np.testing.assert_allclose(model.wte(tokens).detach(), sums(model, rows), atol=1e-6)
    to_hf(model, tmp_path)
    stock = CodeGenForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        theirs = stock(inputs_embeds=sums(model, rows)).logits
        np.testing.assert_allclose(model(tokens), theirs, atol=2e-5)
        again = from_hf(tmp_path)
        assert torch.equal(again(tokens), model(tokens))
    assert (again.row_code, again.tokens, again.words) == (ROWS.row_code, 25 + 15**4, 25)


def test_a_snapshot_has_no_list_of_its_tokens(tmp_path: Path) -> None:
    folder = write_snapshot(tmp_path, 0, make_model(), {"layout": "rows"}, ROWS)
    assert not (folder / "tokenizer.json").exists()
    assert from_hf(folder).row_code == ROWS.row_code


def test_a_config_that_says_half_of_it_is_refused() -> None:
    config = make_model().config
    config.row_signs = None
    with pytest.raises((ValueError, TypeError), match="row_signs"):
        Transformer(config)
    config.row_signs = 40
    with pytest.raises(ValueError, match="vocab_size=85 with row_cells=4, row_signs=40"):
        Transformer(config)


def by_hand(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(targets.shape)
    for i, row in enumerate(targets.tolist()):
        for k, token in enumerate(row):
            if 0 < token < 25:
                out[i, k] = F.cross_entropy(logits[i, k][None], torch.tensor([token]))
            elif token >= 25:
                for cell in range(4):
                    sign = (token - 25) // 15 ** (3 - cell) % 15
                    there = logits[i, k, 25 + 15 * cell : 25 + 15 * (cell + 1)]
                    out[i, k] += F.cross_entropy(there[None], torch.tensor([sign]))
    return out


def test_a_row_costs_what_its_cells_cost() -> None:
    model, tokens = make_model(), torch.from_numpy(ROWS.encode(SAMPLES).astype(np.int64))
    logits, targets = model(tokens[:, :-1]).detach(), tokens[:, 1:]
    losses = target_losses(logits, targets, 0, ROWS.row_code)
    np.testing.assert_allclose(losses, by_hand(logits, targets), atol=1e-5)
    np.testing.assert_allclose(loss_sum(model, tokens, 0, 0).item(), losses.sum().item(), rtol=1e-5)
    ours = token_losses(model, ROWS.encode(SAMPLES), 0, compile_model=False)
    np.testing.assert_allclose(ours, losses, atol=1e-5)
    metrics = prompt_metrics(ROWS, ROWS.encode(SAMPLES), ours)
    # Of the first output: its three rows stand at 5, 6, 7 after "output"; the losses begin with the second token.
    assert metrics["output_loss"][0] == pytest.approx(ours[:, 4:7].sum() / (12 * 12), rel=1e-5)
    plain = prompt_metrics(COMPACT, COMPACT.encode(SAMPLES), np.zeros((12, COMPACT.sequence_length - 1)))
    for name in ("unigram_output_loss", "copy_output_loss", "uniform_cell_loss", "unigram_program_loss"):
        assert metrics[name] == pytest.approx(plain[name])


def test_decoding_writes_words_only() -> None:
    prompts = ROWS.encode_prompts(SAMPLES)
    for seed in range(3):
        for constrained in (True, False):
            made = write_programs(
                make_model(seed), prompts, ROWS.grammar(), 5, pad_id=0, end_id=1, constrained=constrained, compile=False
            )
            assert made.tokens.max() < 25
            assert made.valid.all() or not constrained


def test_a_compiled_step_has_the_same_loss_and_gradients() -> None:
    """Words and rows are told apart by where their numbers are: compiled code must divide negative ones alike."""
    tokens = torch.from_numpy(ROWS.encode(SAMPLES).astype(np.int64))
    found = []
    for compile_it in (False, True):
        model = make_model()
        run = torch.compile(loss_sum, fullgraph=True) if compile_it else loss_sum
        loss = run(model, tokens, 0, 0)
        loss.backward()
        found.append((loss.detach(), model.wte.weight.grad, model.lm_head.weight.grad))
    for plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-4)


def test_a_model_of_words_is_none_of_rows(tmp_path: Path) -> None:
    """The sizes of their tables may be equal."""
    config = model_config(ROWS.vocab_size, ROWS.sequence_length, layers=1, width=16, heads=4)
    to_hf(Transformer(config), tmp_path)
    with pytest.raises(InputError, match="not the 85 of layout rows"):
        origin(tmp_path, RECIPE, "rows")
    with pytest.raises(ValueError, match="not the same vocabulary"):
        check_vocabulary(Transformer(config), ROWS)
