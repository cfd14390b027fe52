"""What each attention head takes from where: its weights over the positions before it.

Training never keeps them; here they are worked out once more, for as few rows as one looks at.

Shapes: B rows, T tokens, H heads, L chosen layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from karel_fast.model.attention import attention_weights
from karel_fast.model.selection import state_numbers
from karel_fast.model.transformer import Transformer


@torch.no_grad()
def attention_patterns(model: Transformer, tokens_BT: Tensor, layers: Sequence[int] | None = None) -> Tensor:
    """float32 (B, L, H, T, T): how much of what a head takes to each position comes from each other one. Rows sum to one.

    layers: numbers of blocks, from 1, as `Capture(point="attn_out")` has them; None: all. Heads stand as transformers has them
    (`output_attentions=True`); where the model's tokens stand for rows of cells, so do the positions.

    Memory is 4 B L H T^2 bytes. Raises ValueError for a block that there is not, or tokens as `Transformer` refuses them.
    """
    blocks = model.config.n_layer
    wanted = tuple(range(1, blocks + 1)) if layers is None else state_numbers(layers)
    for layer in wanted:
        if not 1 <= layer <= blocks:
            raise ValueError(f"attention of layer {layer}: this model has blocks 1..{blocks}")
    kept: dict[int, Tensor] = {}

    def attend(index: int, q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        weights_BHTT = attention_weights(q_BHTE, k_BHTE)
        if index + 1 in wanted:
            kept[index + 1] = weights_BHTT
        return weights_BHTT.to(v_BHTE.dtype) @ v_BHTE

    model.backbone(model.as_tokens(tokens_BT), attend=attend)
    return torch.stack([kept[layer] for layer in wanted], dim=1)
