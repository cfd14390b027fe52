"""Filling tables: let a snapshot write programs for specifications and keep the hidden state behind every action.

Also forced decoding: the states of a model that reads programs it did not write (an untrained model's on the same
programs; reference programs for latent causal probing).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from karel_fast.data import Samples, Tokenizer, generate
from karel_fast.model import Capture, Transformer
from karel_fast.model.decode import write_programs
from karel_fast.model.scoring import hidden_states
from karel_fast.probing.settings import Layers
from karel_fast.probing.table import HiddenTable, TableWriter
from karel_fast.training.written import satisfied

SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}
"""A probing split's name among a recipe's splits."""


Progress = Callable[[str, int, int], None]
"""(stage, done, of how many)."""


def of_stage(progress: Progress | None, stage: str, of: int) -> Callable[[int], None] | None:
    """What `write_table` calls, of something that is told of several stages."""
    return None if progress is None else lambda done: progress(stage, done, of)


def write_table(
    directory: str | Path,
    model: Transformer,
    tokenizer: Tokenizer,
    split: str,
    count: int,
    *,
    start: int = 0,
    layers: Layers = "mean",
    source: str = "",
    specifications: Samples | None = None,
    programs: str = "written",
    same_programs_as: HiddenTable | None = None,
    withhold: str | None = None,
    after: int = 0,
    unfinished: bool = False,
    batch_size: int = 256,
    part: int = 2048,
    dtype: torch.dtype = torch.float32,
    compile_model: bool = True,
    progress: Callable[[int], None] | None = None,
) -> HiddenTable:
    """Fill the table of `count` specifications of a probing split ("train", "validation", "test") and open it.

    programs: "written" by the model under the grammar; "reference", the specifications' own, read by forced decoding;
    or, with `same_programs_as`, those of another table. withhold: see `forced_states`, for programs the model does not write;
    after likewise, for reference programs only.
    unfinished: programs cut off at the length limit have rows too.
    source: what the model is (a snapshot's path), for the table's identity. specifications: `count` of them in place of the
    recipe's own from `start` on; then `source` must say whose. Goes on where an earlier call stopped; at
    most `part` programs are in memory. progress is called with the number of programs on disk. Raises ValueError for
    a recipe with control flow: its written actions are not its states' steps.
    """
    recipe = tokenizer.recipe
    if not recipe.straight_line:
        raise ValueError(
            "probing pairs each written action with the state after it, so it needs a recipe without control flow"
        )
    if split not in SPLIT_NAMES:
        raise ValueError(f"split {split!r} is unknown: one of {', '.join(SPLIT_NAMES)}")
    if count < 1:
        raise ValueError(f"{split}: {count} programs make no table; ask for at least 1")
    named = ["mean"] if layers == "mean" else [int(layer) for layer in layers]
    capture = Capture(layers if isinstance(layers, str) else list(layers))  # type: ignore[arg-type]
    writer = TableWriter(
        directory,
        width=model.config.n_embd,
        layers=named,
        max_actions=recipe.symbol_width,
        unfinished=unfinished,
        identity={
            "recipe": recipe.hash,
            "layout": tokenizer.layout,
            "split": split,
            "start": start,
            "count": count,
            "source": source,
            "programs": "same" if same_programs_as is not None else programs,
            "withhold": withhold,
            **({"after": after} if after else {}),
        },
    )
    while writer.programs < count:
        done = writer.programs
        more = min(part, count - done)
        samples = (
            generate(recipe, split=SPLIT_NAMES[split], start=start + done, count=more)
            if specifications is None
            else specifications[done : done + more]
        )
        if same_programs_as is not None:
            chosen = slice(done, done + len(samples))
            writer.append(
                same_programs_as.actions[chosen],
                same_programs_as.lengths[chosen],
                same_programs_as.correct[chosen],
                same_programs_as.finished[chosen],
                forced_states(
                    model, tokenizer, samples, same_programs_as.actions[chosen], same_programs_as.lengths[chosen], capture,
                    withhold=withhold, batch_size=batch_size, dtype=dtype, compile_model=compile_model,
                ),
            )  # fmt: skip
        elif programs == "reference":
            states = forced_states(
                model, tokenizer, samples, samples.actions, samples.lengths, capture,
                withhold=withhold, after=after, batch_size=batch_size, dtype=dtype, compile_model=compile_model,
            )  # fmt: skip
            yes = np.ones(len(samples), bool)
            writer.append(samples.actions, samples.lengths, yes, yes, states)
        else:
            writer.append(*written_states(model, tokenizer, samples, capture, batch_size, dtype, compile_model))
        if progress:
            progress(writer.programs)
    writer.close()
    return HiddenTable(directory)


def written_states(
    model: Transformer,
    tokenizer: Tokenizer,
    samples: Samples,
    capture: Capture,
    batch_size: int,
    dtype: torch.dtype,
    compile_model: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For programs that the model writes for n specifications: actions (n, L), lengths, correct, finished, states (n, L, .., D).

    A program that did not end in time is cut to the recipe's longest, and neither finished nor correct.
    """
    from karel_fast.karel.language import CompiledPrograms

    most = tokenizer.recipe.symbol_width
    made = write_programs(
        model,
        tokenizer.encode_prompts(samples),
        tokenizer.grammar(),
        tokenizer.program_length,
        capture,
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.end_id,
        batch_size=min(batch_size, len(samples)),
        max_actions=most + 1,
        dtype=dtype,
        compile=compile_model,
    )
    shown, _ = satisfied(CompiledPrograms.from_actions(made.actions, made.lengths), samples)
    # One that ended has at most the recipe's longest; one cut off may have an action more, and no rows.
    finished = made.finished & (made.lengths <= most)
    hidden = made.hidden
    assert hidden is not None
    return (
        made.actions[:, :most],
        np.minimum(made.lengths, most),
        shown & finished,
        finished,
        hidden[:, :most].float().numpy(),
    )


def forced_states(
    model: Transformer,
    tokenizer: Tokenizer,
    samples: Samples,
    actions: np.ndarray,
    lengths: np.ndarray,
    capture: Capture,
    *,
    withhold: str | None = None,
    after: int = 0,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    compile_model: bool = True,
) -> np.ndarray:
    """States that predict given programs' actions: float32 (n, L, D), or (n, L, layers, D) for a list of layers.

    actions: uint8 (n, L) padded with 255. Zeros where a program has no action. withhold: None, or what stands where the
    specification's outputs stood, so that no state can be read off them (Jin & Rinard, COLM 2024): "input", the
    inputs once more; "space", empty floor. after: read so many tokens later, inside the action's own tokens.
    """
    samples = withheld(samples, withhold)
    given = Samples(samples.recipe, samples.split, samples.start, actions, lengths, samples.inputs, samples.outputs)
    tokens = tokenizer.encode(given).astype(np.int64)
    if withhold == "space":
        _empty_outputs(tokens, tokenizer)
    positions = tokenizer.action_positions(given)
    if not 0 <= after < tokenizer.tokens_per_action:
        raise ValueError(
            f"after is {after}: an action of layout {tokenizer.layout} has {tokenizer.tokens_per_action} tokens"
        )
    # Every program's action k is predicted at one place, so one row of positions serves all.
    where_K = torch.from_numpy(np.maximum(positions.max(0), 0) + after)
    capture = Capture(capture.layers, where_K, capture.final_norm, capture.point)
    parts = hidden_states(model, tokens, capture, batch_size=batch_size, dtype=dtype, compile=compile_model)
    states = torch.cat(list(parts)).float().numpy()
    states[positions < 0] = 0
    return states


def withheld(samples: Samples, withhold: str | None) -> Samples:
    """The specifications with their inputs in place of their outputs, unless `withhold` is None. Raises ValueError."""
    if withhold is None:
        return samples
    if withhold not in ("input", "space"):
        raise ValueError(f"withhold {withhold!r} is unknown: None, 'input' or 'space'")
    return Samples(
        samples.recipe, samples.split, samples.start, samples.symbols, samples.lengths, samples.inputs, samples.inputs
    )


def _empty_outputs(tokens: np.ndarray, tokenizer: Tokenizer) -> None:
    """Write empty floor over every output cell of the rows, in place."""
    outputs = tokenizer.output_positions
    tokens[:, outputs] = tokenizer.empty_prompt[outputs]
