"""Tokens that stand for a whole row of a world: their embedding, and what they cost.

Tokens below `words` are looked up as always. A row is the sum of a vector per cell, which depends on where in its row the cell is
and on what it shows. A model writes a row cell by cell, all at once: the cells are independent of each other given what came
before, so a row's cross entropy is the sum of its cells'.

Blocks and head are the stock model's: a CodeGenForCausalLM with the same weights gives the same logits when it is handed the sums as
`inputs_embeds`.

Shapes: B rows of a batch, T tokens, D width, V columns of the table and of the logits (`RowCode.columns`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CodeGenConfig

from karel_fast.support.checks import whole
from karel_fast.support.row_code import MOST_TOKENS, RowCode


def row_code_of(config: CodeGenConfig) -> RowCode | None:
    """How a model's tokens stand for rows; None if none does. ValueError for a config that says it in part, or cannot be."""
    cells, signs = getattr(config, "row_cells", None), getattr(config, "row_signs", None)
    if cells is None and signs is None:
        return None
    cells, signs = whole("row_cells", cells, 1, 64), whole("row_signs", signs, 2, 256)
    code = RowCode(config.vocab_size - cells * signs, cells, signs)
    if code.words < 2 or code.tokens > MOST_TOKENS:
        raise ValueError(
            f"vocab_size={config.vocab_size} with row_cells={cells}, row_signs={signs}: need at least 2 more than their product, and "
            f"at most {MOST_TOKENS} tokens"
        )
    return code


class RowEmbedding(nn.Embedding):
    """An embedding of words and rows; see above. Its weight is (V, D): the words, then every sign of the first cell, ..."""

    def __init__(self, code: RowCode, width: int) -> None:
        super().__init__(code.columns, width)
        self.code = code

    def forward(self, tokens: Tensor) -> Tensor:
        code = self.code
        is_word = tokens < code.words
        # Beyond the last token there is no column, as there is none beyond an ordinary table: torch says so (IndexError).
        first = (code.words + code.sign(tokens, 0)).masked_fill(tokens > code.tokens - 1, code.columns)
        x = F.embedding(torch.where(is_word, tokens, first), self.weight)
        for cell in range(1, code.cells):
            there = F.embedding(code.words + cell * code.signs + code.sign(tokens, cell).clamp_min(0), self.weight)
            x = x + there.masked_fill(is_word[..., None], 0.0)
        return x


def target_losses(logits_BTV: Tensor, targets_BT: Tensor, pad_id: int, code: RowCode | None) -> Tensor:
    """float32 (B, T): the cross entropy of every target, in nats; 0 for padding.

    A word is one of all V columns, a cell of a row one of its own signs.
    """
    if code is None:
        return F.cross_entropy(logits_BTV.transpose(1, 2), targets_BT, ignore_index=pad_id, reduction="none")
    is_word = targets_BT < code.words
    words_BT = targets_BT.masked_fill(~is_word, pad_id)
    losses_BT = F.cross_entropy(logits_BTV.transpose(1, 2), words_BT, ignore_index=pad_id, reduction="none")
    cells_BTCS = logits_BTV[..., code.words :].unflatten(-1, (code.cells, code.signs)).log_softmax(dim=-1)
    for cell in range(code.cells):
        sign_BT1 = code.sign(targets_BT, cell).masked_fill(is_word, 0)[..., None]
        lost_BT = -cells_BTCS[..., cell, :].gather(-1, sign_BT1)[..., 0]
        losses_BT = losses_BT + lost_BT.masked_fill(is_word, 0.0)
    return losses_BT
