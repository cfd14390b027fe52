"""What a model writes beside what it was trained on: lengths, its own text's perplexity, and every part of the prompt.

Losses are mean nats per token, each beside the loss of a reader that knows only how frequent tokens are.

Shapes: n samples, E examples each, C interior cells of a world, B rows of a batch, T tokens of a row, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from karel_fast.data import Tokenizer
from karel_fast.model import Transformer
from karel_fast.model.decode import Generated
from karel_fast.model.rows import target_losses
from karel_fast.training.row_scores import row_scores


def perplexity(loss: float) -> float | None:
    """The exponential of a loss in nats; None where it is larger than any float: JSON has no infinity."""
    try:
        return math.exp(loss)
    except OverflowError:
        return None


def text_metrics(
    model: Transformer,
    tokenizer: Tokenizer,
    rows_nT: np.ndarray,
    losses_nT: np.ndarray,
    generated: Generated,
    correct: np.ndarray,
    *,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    compile_model: bool = True,
) -> dict[str, Any]:
    """`length_metrics`, `prompt_metrics`, and the model's own text.

    written_loss: of the programs that the model wrote, with their end tokens; written_perplexity: its exponential;
    loss_gap: how much more the reference programs cost it. Greedy programs are the probable ones, so it is above 0.

    rows_nT, losses_nT: the specifications with their reference programs, and their `token_losses`. generated, correct: the
    greedy programs, and bool (n,) which of them satisfy every shown example.
    """
    settings: dict[str, Any] = {"batch_size": batch_size, "dtype": dtype, "compile_model": compile_model}
    first = tokenizer.prompt_length
    written_nT = rows_nT.copy()
    written_nT[:, first:] = generated.tokens
    written_losses_nT = token_losses(model, written_nT, tokenizer.pad_id, **settings)
    written_loss = program_loss(tokenizer, written_nT, written_losses_nT)
    return {
        "written_loss": written_loss,
        "written_perplexity": perplexity(written_loss),
        "loss_gap": program_loss(tokenizer, rows_nT, losses_nT) - written_loss,
        **prompt_metrics(tokenizer, rows_nT, losses_nT),
        **length_metrics(tokenizer, rows_nT[:, first:], generated, correct),
    }


def prompt_metrics(tokenizer: Tokenizer, rows_nT: np.ndarray, losses_nT: np.ndarray) -> dict[str, Any]:
    """The loss of every part of the rows, and their base rates.

    input_loss and output_loss: E numbers each, per cell of the example's worlds: whether output k + 1 is more predictable
    than output k tells what the examples before it were good for. unigram_input_loss, unigram_output_loss,
    unigram_program_loss: the entropy of the tokens' frequencies in these very rows, which no reader without context can go
    below. copy_output_loss: the entropy of an output's cell given the same cell of the input. uniform_cell_loss,
    uniform_program_loss: of a reader that holds all cells, or all tokens that the grammar allows, for equally probable.

    losses_nT: of the rows' tokens from the second on, (n, T - 1). Where training left a part out of the loss, nothing says
    that the model's loss of it is small.
    """
    inputs_EC, outputs_EC = tokenizer.cell_positions.transpose(1, 0, 2)
    # The first cell of all may be the row's first token, which nothing predicts.
    # Where a row of cells is one token, its cells share its loss alike.
    inputs_nEC, outputs_nEC = (
        losses_nT[:, np.maximum(places - 1, 0)] / tokenizer.cells_per_token for places in (inputs_EC, outputs_EC)
    )
    before_nEC, after_nEC = tokenizer.shown_cells(rows_nT).transpose(2, 0, 1, 3)
    program = rows_nT[:, tokenizer.prompt_length :]
    return {
        "input_loss": inputs_nEC.mean(axis=(0, 2), dtype=np.float64).tolist(),
        "output_loss": outputs_nEC.mean(axis=(0, 2), dtype=np.float64).tolist(),
        "unigram_input_loss": entropy(before_nEC),
        "unigram_output_loss": entropy(after_nEC),
        "copy_output_loss": copy_loss(before_nEC, after_nEC),
        "uniform_cell_loss": math.log(len(tokenizer.cell_ids)),
        "unigram_program_loss": entropy(program[program != tokenizer.pad_id]),
        "uniform_program_loss": uniform_program_loss(tokenizer, program),
    }


def length_metrics(
    tokenizer: Tokenizer, reference: np.ndarray, generated: Generated, correct: np.ndarray
) -> dict[str, Any]:
    """Lengths are in actions as written.

    correct_lengths: {"shorter", "equal", "longer"}: shares of correct programs by their length against the reference
    program's (None if none is correct). by_reference_length: {length: {"samples", "correct"}}, how many samples have a
    reference program of that length, and how many of their written programs are correct. by_written_length: {length:
    {"correct", "wrong"}}, how many programs of that length were written.
    """
    theirs = action_counts(tokenizer, reference)
    longer = np.sign(generated.lengths.astype(np.int64) - theirs)[correct]
    signs = {"shorter": -1, "equal": 0, "longer": 1}
    return {
        "correct_lengths": {name: float((longer == sign).mean()) for name, sign in signs.items()}
        if len(longer)
        else None,
        "by_reference_length": {
            str(length): {"samples": int((theirs == length).sum()), "correct": int(correct[theirs == length].sum())}
            for length in np.unique(theirs)
        },
        "by_written_length": {
            str(length): {
                "correct": int(correct[generated.lengths == length].sum()),
                "wrong": int((~correct[generated.lengths == length]).sum()),
            }
            for length in np.unique(generated.lengths)
        },
    }


def token_losses(
    model: Transformer,
    rows_nT: np.ndarray,
    pad_id: int,
    *,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    compile_model: bool = True,
) -> np.ndarray:
    """float32 (n, T - 1): what each token from the second on costs, in nats, given those before it; 0 for padding."""
    return row_scores(
        row_losses, model, rows_nT, pad_id, batch_size=batch_size, dtype=dtype, compile_model=compile_model
    )


def row_losses(model: Transformer, tokens_BT: Tensor, pad_id: int) -> Tensor:
    """float32 (B, T - 1), see `token_losses`."""
    return target_losses(model(tokens_BT[:, :-1]).float(), tokens_BT[:, 1:], pad_id, model.row_code)


def program_loss(tokenizer: Tokenizer, rows_nT: np.ndarray, losses_nT: np.ndarray) -> float:
    """Mean nats per token of the rows' programs with their end tokens. losses_nT: (n, T - 1), see `token_losses`."""
    first = tokenizer.prompt_length
    written = rows_nT[:, first:] != tokenizer.pad_id
    return float(losses_nT[:, first - 1 :].sum(dtype=np.float64, where=written) / written.sum())


def entropy(values: np.ndarray) -> float:
    """Of the values' frequencies, in nats."""
    _, counts = np.unique(values, return_counts=True)
    return float(stats.entropy(counts))


def copy_loss(before: np.ndarray, after: np.ndarray) -> float:
    """The entropy in nats of values given those at the same places before; integers of one shape, 0 or more."""
    pairs = before.astype(np.int64) * (int(after.max()) + 1) + after
    return entropy(pairs) - entropy(before)


def action_counts(tokenizer: Tokenizer, rows: np.ndarray) -> np.ndarray:
    """How many actions are written in each row of tokens (n, S)."""
    return np.isin(rows, tokenizer.action_ids).sum(axis=1)


def uniform_program_loss(tokenizer: Tokenizer, programs: np.ndarray) -> float:
    """Mean nats per token of programs, (n, S), for a reader to whom all that the grammar allows is equally probable."""
    grammar = tokenizer.grammar()
    cost_of_state = np.log(grammar.allowed.sum(axis=1))
    state = np.full(len(programs), grammar.start_state)
    total, count = 0.0, 0
    for tokens in programs.T:
        there = tokens != tokenizer.pad_id
        total += float(cost_of_state[state][there].sum())
        count += int(there.sum())
        state = grammar.next_state[state, tokens]
    return total / count
