"""Beam search under the grammar: the most probable programs of each specification, with their exact log-probabilities.

The prompts are read once. Of the keys and values only those of the program's own tokens follow when a beam takes the place
of another; the prompts' stay where they are.

Shapes: n specifications, B of a batch, W width, S new tokens, V vocabulary, A actions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from karel_fast.model.cache import Cache, WritingAttention
from karel_fast.model.compiling import compiled
from karel_fast.model.decode import NO_ACTION, Decoder, Generated, GrammarTables, Tables, read_out
from karel_fast.model.device import autocast
from karel_fast.model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class Beams:
    """Programs of each specification, the best first; those that did not end in time come last.

    tokens: int64 (n, W, S) after the prompt, padded. log_probability: float64 (n, W), nats, of the program with its end token
    among all that the grammar allows: what sampling at temperature 1 draws it with; of the tokens so far if it did not end;
    -inf, with padding for tokens, where the grammar has fewer than W programs. finished: bool (n, W). action_of_token:
    the grammar's.
    """

    tokens: np.ndarray
    log_probability: np.ndarray
    finished: np.ndarray
    action_of_token: np.ndarray

    def programs(self, rank: int = 0) -> Generated:
        """The programs at one rank of every beam, 0 for the best, without hidden states."""
        tokens = self.tokens[:, rank]
        codes = self.action_of_token[tokens]
        lengths = (codes >= 0).sum(axis=1)
        actions = np.full((len(tokens), max(1, int(lengths.max()))), NO_ACTION, np.uint8)
        # Row by row, in order: the actions without what stands between them.
        actions[np.arange(actions.shape[1]) < lengths[:, None]] = codes[codes >= 0]
        valid = np.isfinite(self.log_probability[:, rank])
        return Generated(tokens, actions, lengths.astype(np.int32), self.finished[:, rank], valid, None)


def beam_search(
    model: Transformer,
    prompts: np.ndarray,
    grammar: GrammarTables,
    max_new_tokens: int,
    width: int,
    *,
    pad_id: int,
    end_id: int,
    length_penalty: float = 0.0,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    compile: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Beams:
    """The `width` best programs that beam search finds after each prompt, integers (n, P), all of one length.

    Beams are ranked by log-probability / tokens ** length_penalty (Wu et al. 2016 have a variant of it), the end token
    counted; with penalty 0, by log-probability. If the width is at least the number of programs and unfinished ones of every
    length, nothing is left out. batch_size: beams, of all specifications, that are gone on with together. Other arguments
    and errors as for `write_programs`; ValueError for a width below 1 or a penalty outside 0 .. 10.
    """
    if width < 1:
        raise ValueError(f"width={width}: use at least 1")
    if not 0.0 <= length_penalty <= 10.0:
        raise ValueError(f"length_penalty={length_penalty!r}: use a number from 0 to 10")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: use at least 1")
    decoder = Decoder(model, grammar, max_new_tokens, pad_id=pad_id, end_id=end_id, dtype=dtype, compile=compile)
    step: Any = compiled(beam_step) if compile else beam_step
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    done = 0
    for read in decoder.read(prompts, max(1, batch_size // width)):
        parts.append(_search(decoder, step, read.cache, read.logits_BV, width, length_penalty, read.keep))
        done += read.keep
        if progress is not None:
            progress(done)
    tokens, log_probability, finished = (np.concatenate(kind) for kind in zip(*parts, strict=True))
    return Beams(tokens, log_probability, finished, np.asarray(grammar.action_of_token))


@torch.no_grad()
def _search(
    decoder: Decoder, step: Any, prompt: Cache, logits_BV: Tensor, width: int, penalty: float, keep: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, log-probabilities and ends of a batch's beams, in order of rank."""
    device, rows = decoder.device, len(logits_BV)
    wide: Cache = [(k.repeat_interleave(width, 0), v.repeat_interleave(width, 0)) for k, v in prompt]
    heads, size = wide[0][0].shape[1], wide[0][0].shape[3]
    shape = (rows * width, heads, decoder.steps, size)
    new: Cache = [(k.new_zeros(shape), v.new_zeros(shape)) for k, v in prompt]
    start = torch.full((rows, width), float("-inf"), dtype=torch.float64, device=device)
    start[:, 0] = 0.0  # all beams begin alike: one of them is enough
    state = _Beams(
        tokens=torch.full((rows, width, decoder.steps), decoder.tables.pad_id, device=device),
        log_probability=start,
        state=torch.full((rows, width), decoder.start_state, device=device),
        finished=torch.zeros(rows, width, dtype=torch.bool, device=device),
        written=torch.zeros(rows, width, dtype=torch.int64, device=device),
    )
    logits = logits_BV.repeat_interleave(width, 0)
    with autocast(device, decoder.dtype):
        for number in torch.arange(decoder.steps, device=device).split(1):
            logits, new, state = step(decoder.model, decoder.tables, wide, new, state, logits, number.clone(), penalty)
    tokens, found = state.tokens[:keep].cpu().numpy(), state.log_probability[:keep].cpu().numpy()
    finished, scores = state.finished[:keep].cpu().numpy(), state.scores(penalty)[:keep].cpu().numpy()
    order = np.lexsort((-scores, ~finished), axis=1)
    tokens = np.take_along_axis(tokens, order[:, :, None], 1)
    found, finished = np.take_along_axis(found, order, 1), np.take_along_axis(finished, order, 1)
    tokens[np.isneginf(found)] = decoder.tables.pad_id
    return tokens, found, finished & np.isfinite(found)


@dataclass(slots=True)
class _Beams:
    """The beams so far. written: tokens of each, its end counted and padding not."""

    tokens: Tensor  # (B, W, S)
    log_probability: Tensor  # (B, W)
    state: Tensor  # (B, W)
    finished: Tensor  # (B, W)
    written: Tensor  # (B, W)

    def scores(self, penalty: float) -> Tensor:
        """What beams are ranked by."""
        return self.log_probability / self.written.clamp(min=1).double() ** penalty

    def of(self, parent_BW: Tensor) -> _Beams:
        """The beams at these places."""
        gathered = {
            name: getattr(self, name).gather(1, parent_BW)
            for name in ("log_probability", "state", "finished", "written")
        }
        tokens = self.tokens.gather(1, parent_BW[:, :, None].expand(-1, -1, self.tokens.shape[2]))
        return _Beams(tokens=tokens, **gathered)


def beam_step(
    model: Transformer,
    tables: Tables,
    prompt_cache: Cache,
    new_cache: Cache,
    beams: _Beams,
    logits: Tensor,
    number: Tensor,
    penalty: float,
) -> tuple[Tensor, Cache, _Beams]:
    """Go on with the W best of all W x V ways to write token `number`; logits are (B * W, V)."""
    rows, width = beams.state.shape
    token_BW, parent_BW, beams = extend(tables, beams, logits.view(rows, width, -1), number, penalty)
    flat = (torch.arange(rows, device=logits.device)[:, None] * width + parent_BW).flatten()
    moved: Cache = [(k.index_select(0, flat), v.index_select(0, flat)) for k, v in new_cache]
    attend = WritingAttention(prompt_cache, moved, number)
    at = number + prompt_cache[0][0].shape[2]
    x_B1D = model.backbone(token_BW.view(-1, 1), attend=attend, at=at)
    return read_out(model, x_B1D, None)[0], attend.cache, beams


def extend(
    tables: Tables, beams: _Beams, logits_BWV: Tensor, number: Tensor, penalty: float
) -> tuple[Tensor, Tensor, _Beams]:
    """The tokens (B, W) that are written, the beams (B, W) that they go on from, and the beams after them.

    After its end a program has one way to go on, padding, at no cost: so it stays among the beams as it is.
    """
    allowed_BWV = tables.allowed[beams.state]
    step_BWV = logits_BWV.double().masked_fill(~allowed_BWV, float("-inf")).log_softmax(dim=-1)
    total_BWV = beams.log_probability[:, :, None] + step_BWV
    written_BW = beams.written + ~beams.finished
    score_BWV = total_BWV / written_BW[:, :, None].double() ** penalty
    # Stable, so that ties fall the same way on every device.
    best_BW = score_BWV.flatten(1).sort(dim=1, descending=True, stable=True).indices[:, : beams.state.shape[1]]
    vocabulary = logits_BWV.shape[2]
    parent_BW, token_BW = best_BW // vocabulary, best_BW % vocabulary
    chosen = replace(beams, written=written_BW).of(parent_BW)
    here_S = torch.arange(chosen.tokens.shape[2], device=token_BW.device) == number
    after = _Beams(
        tokens=torch.where(here_S, token_BW[:, :, None], chosen.tokens),
        log_probability=total_BWV.flatten(1).gather(1, best_BW),
        state=tables.next_state[chosen.state, token_BW],
        finished=chosen.finished | (token_BW == tables.end_id),
        written=chosen.written,
    )
    return token_BW, parent_BW, after
