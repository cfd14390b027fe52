"""Which tokens of a row are learned, how many they are, and what they cost.

Shapes: B rows of one pass, T tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from karel_fast.model import Transformer
from karel_fast.model.rows import target_losses
from karel_fast.runs.folder import LossTargets


class Targets:
    """The targets of a model's rows. first: the last position before the first target, the first whose logits anybody needs.

    loss: as `TrainConfig.loss`; "outputs" needs the tokenizer, and raises ValueError if its rows are longer than the context.
    """

    def __init__(self, loss: LossTargets, model: Transformer, pad_id: int, tokenizer: Any) -> None:
        self.loss, self.code, self.pad_id = loss, model.row_code, pad_id
        prompt = model.prompt_length or 1
        # Rows may have a token more than the context: the last one is only a target.
        self.wanted_T = np.arange(model.config.n_positions + 1) >= (1 if loss == "all" else prompt)
        if loss == "outputs":
            model.check_length(tokenizer.sequence_length - 1)
            self.wanted_T[tokenizer.output_positions] = True
        self.first = int(self.wanted_T.argmax()) - 1

    def ignored(self, device: torch.device) -> Tensor | None:
        """bool (T,): the positions that `loss_sum` is to leave out; None if all from `first` + 1 on are targets."""
        return None if self.wanted_T[self.first + 1 :].all() else torch.from_numpy(~self.wanted_T).to(device)

    def count(self, batch_BT: np.ndarray) -> int:
        """How many targets there are in token rows: words, and cells where a row of them is one token."""
        wanted = batch_BT[:, self.wanted_T[: batch_BT.shape[1]]]
        words = int((wanted != self.pad_id).sum())
        return words if self.code is None else words + (self.code.cells - 1) * int((wanted >= self.code.words).sum())


def loss_sum(model: Transformer, tokens_BT: Tensor, first: int, pad_id: int, ignored_T: Tensor | None = None) -> Tensor:
    """Summed next-token cross entropy, in nats, of the targets from position first + 1 on, without padding. Where a row of cells is
    one token, that is the sum over its cells.

    ignored_T: bool (T,), True for positions that are no targets.
    """
    logits_BTV = model(tokens_BT[:, :-1], logits_from=first).float()
    targets_BT = tokens_BT[:, first + 1 :]
    if ignored_T is not None:
        targets_BT = targets_BT.masked_fill(ignored_T[first + 1 :], pad_id)
    if model.row_code is not None:
        return target_losses(logits_BTV, targets_BT, pad_id, model.row_code).sum()
    return F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=pad_id, reduction="sum")
