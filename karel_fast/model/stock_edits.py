"""The same edits in a stock transformers model, by hooks while it runs: for models that this package does not compile itself.

Shapes: B rows, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from karel_fast.model.intervention import Editor, Intervention


@contextmanager
def edited(
    model: nn.Module,
    intervention: Intervention,
    *,
    prompt_length: int | None = None,
    blocks: str = "transformer.h",
    norm: str = "transformer.ln_f",
) -> Iterator[None]:
    """Inside `with`, a forward pass of the model over whole sequences applies the edit; states are numbered as in `Capture`.

    blocks, norm: the model's list of blocks, whose first argument and output are the residual stream (B, T, D), and its
    final norm: those of CodeGen and GPT-2 by default, "model.layers" and "model.norm" of Llama and its like. Positions count
    from the sequence's beginning, so `generate` needs use_cache=False. prompt_length: for positions="program".

    Raises AttributeError for a name and ValueError for a layer that the model does not have, and, when it runs, ValueError for an
    intervention that does not fit the sequences.
    """
    stack, final = list(model.get_submodule(blocks).children()), model.get_submodule(norm)
    unknown = [layer for layer in intervention.layers if layer > len(stack)]
    if unknown:
        raise ValueError(f"intervention layer {unknown[0]}: this model has states 0..{len(stack)} (0 is the embedding)")

    def edit(state: int, x_BTD: Tensor) -> Tensor:
        rows, length, width = x_BTD.shape
        intervention.check(rows, length, len(stack) + 1, width, prompt_length)
        return Editor(intervention, intervention.numbers(length, prompt_length)).edit(state, x_BTD)

    def before(state: int) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (edit(state, args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": edit(state, kwargs["hidden_states"])}

        return hook

    handles = [
        block.register_forward_pre_hook(before(state), with_kwargs=True)
        for state, block in enumerate(stack)
        if state in intervention.layers
    ]
    if len(stack) in intervention.layers:
        if intervention.final_norm:
            handles.append(final.register_forward_hook(lambda _, __, out: edit(len(stack), out)))
        else:
            handles.append(final.register_forward_pre_hook(before(len(stack)), with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
