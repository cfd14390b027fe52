"""Decoding of many specifications at once, greedily or at random, under a grammar or free, with the hidden state behind
every action.

One compiled graph reads the prompts (prefill) and one makes a token (step); nothing is read back to the host until a
batch is done. The grammar is a state machine whose tables lie on the device.

Shapes: B rows, P prompt tokens, S new tokens, D width, H heads, E head width, V vocabulary, A actions kept, L
captured layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from karel_fast.model.batches import check_tokens, row_batches
from karel_fast.model.cache import Cache, ReadingAttention, WritingAttention
from karel_fast.model.capture import Capture, Recorder
from karel_fast.model.compiling import compiled
from karel_fast.model.device import autocast
from karel_fast.model.intervention import Editor, Intervention, check_finite
from karel_fast.model.sampling import Sampling, draw_tokens, uniform_numbers
from karel_fast.model.transformer import Transformer

NO_ACTION = 255
"""Pads action codes."""


class GrammarTables(Protocol):
    """What decoding needs of a grammar: a state machine over the tokens after the prompt (as `Tokenizer.grammar()`
    gives).
    """

    @property
    def next_state(self) -> np.ndarray: ...
    @property
    def allowed(self) -> np.ndarray: ...
    @property
    def start_state(self) -> int: ...
    @property
    def action_of_token(self) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Generated:
    """Programs written by the model, row i for prompt i.

    tokens: int64 (n, S) after the prompt, padded with pad_id after the end token. actions: uint8 (n, Lmax) action
    codes, 255 padded, Lmax being the longest of them. lengths: int32 (n,) actions of each. finished: bool (n,),
    whether the end token came in time. valid: bool (n,), whether the tokens so far obey the grammar (always so in
    constrained decoding). hidden: (n, Lmax, D), or (n, Lmax, layers, D) for a list of layers; hidden[i, k] is the
    state that predicted action k, zeros beyond the program; None without capture.
    """

    tokens: np.ndarray
    actions: np.ndarray
    lengths: np.ndarray
    finished: np.ndarray
    valid: np.ndarray
    hidden: Tensor | None

    def __len__(self) -> int:
        return len(self.tokens)


def write_programs(
    model: Transformer,
    prompts: np.ndarray | Tensor,
    grammar: GrammarTables,
    max_new_tokens: int,
    capture: Capture | None = None,
    *,
    pad_id: int,
    end_id: int,
    intervention: Intervention | None = None,
    constrained: bool = True,
    sampling: Sampling | None = None,
    draw: int = 0,
    batch_size: int = 256,
    max_actions: int | None = None,
    dtype: torch.dtype = torch.float32,
    compile: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Generated:
    """Let the model write a program after each prompt, at most `max_new_tokens` tokens long.

    prompts: integers (n, P), all of one length. constrained: only tokens that the grammar allows (False: any token;
    `valid` then tells which programs obey it). capture: which layers to keep per action (its positions do not matter
    here). intervention: edits, whose positions count from the prompt's beginning; "program" is the prompt's last position
    and all that are written. sampling: how tokens are drawn (None: the most probable one, greedily); draw numbers the programs
    drawn for the same prompt. The same seed, prompt's place and draw give the same program in batches of any size. dtype:
    float32, or bfloat16 for products in bfloat16. max_actions: most actions kept of a program (default: max_new_tokens). The
    model's device is used; results are on the CPU. progress is called with the number of rows done.

    Raises ValueError for prompts that do not fit the context or the vocabulary, a grammar of another vocabulary, or an
    intervention that does not fit the model, the prompts or max_new_tokens; NotFiniteError for one that makes a number that is
    not finite.
    """
    decoder = Decoder(
        model, grammar, max_new_tokens, capture, pad_id=pad_id, end_id=end_id, max_actions=max_actions, dtype=dtype,
        compile=compile,
    )  # fmt: skip
    parts = []
    for read in decoder.read(prompts, batch_size, intervention):
        parts.append(decoder.write(read, constrained, sampling, draw))
        if progress is not None:
            progress(sum(map(len, parts)))
    return join(parts)


def join(parts: Sequence[Generated]) -> Generated:
    """Batches of programs as one."""
    longest = max(int(part.lengths.max()) for part in parts)
    hidden = None
    if parts[0].hidden is not None:
        hidden = torch.cat([part.hidden[:, :longest] for part in parts if part.hidden is not None])
    return Generated(
        tokens=np.concatenate([part.tokens for part in parts]),
        actions=np.concatenate([part.actions[:, :longest] for part in parts]),
        lengths=np.concatenate([part.lengths for part in parts]),
        finished=np.concatenate([part.finished for part in parts]),
        valid=np.concatenate([part.valid for part in parts]),
        hidden=hidden,
    )


@dataclass(slots=True)
class ReadPrompts:
    """A batch of prompts after prefill, and what goes with them in writing; the first `keep` rows count, the others only
    keep the shape. numbers: int64 (B,), each row's place among all prompts.
    """

    keep: int
    numbers: np.ndarray
    logits_BV: Tensor
    hidden: Tensor | None
    cache: Cache
    intervention: Intervention | None


class Decoder:
    """A model and a grammar ready to write: `read` prompts batch by batch, then `write` each, in one way or several.

    Reading is most of the work, so writing under the grammar and freely from one reading costs little more than
    either; and a caller who stores each batch before the next never holds more than one. Arguments as in `write_programs`;
    actions and hidden of `write`'s results are max_actions wide.
    """

    def __init__(
        self,
        model: Transformer,
        grammar: GrammarTables,
        max_new_tokens: int,
        capture: Capture | None = None,
        *,
        pad_id: int,
        end_id: int,
        max_actions: int | None = None,
        dtype: torch.dtype = torch.float32,
        compile: bool = True,
    ) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={max_new_tokens}: use at least 1")
        if grammar.allowed.shape[1] != model.config.vocab_size:
            raise ValueError(
                f"the grammar is over {grammar.allowed.shape[1]} tokens, the model over {model.config.vocab_size}"
            )
        if capture is not None:
            capture = Capture(capture.layers, "all", capture.final_norm, capture.point)
            capture.check(1, 1, model.states)
        self.model, self.steps, self.capture = model, max_new_tokens, capture
        self.device = model.wte.weight.device
        self.max_actions = max_new_tokens if max_actions is None else min(max_actions, max_new_tokens)
        self.tables = Tables(
            next_state=torch.from_numpy(grammar.next_state.astype(np.int64)).to(self.device),
            allowed=torch.from_numpy(np.ascontiguousarray(grammar.allowed)).to(self.device),
            action_of_token=torch.from_numpy(grammar.action_of_token.astype(np.int64)).to(self.device),
            pad_id=pad_id,
            end_id=end_id,
        )
        self.start_state = int(grammar.start_state)
        self.dtype = dtype
        self.prefill: Any = compiled(prefill) if compile else prefill
        self.step: Any = compiled(step) if compile else step

    def read(
        self, prompts: np.ndarray | Tensor, batch_size: int, intervention: Intervention | None = None
    ) -> Iterator[ReadPrompts]:
        """Prefill integers (n, P), batch by batch; a short last batch is filled up so that the same graph serves it."""
        prompts_nP = np.asarray(prompts.cpu() if isinstance(prompts, Tensor) else prompts)
        check_tokens("prompts", prompts_nP, "(n, P)", self.model.tokens)
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: use at least 1")
        rows, length = prompts_nP.shape
        whole = length + self.steps
        self.model.check_length(whole)
        if intervention is not None:
            intervention.check(rows, whole, self.model.states, self.model.config.n_embd, length)
        for numbers, keep in row_batches(rows, batch_size):
            batch = torch.from_numpy(prompts_nP[numbers.numpy()].astype(np.int64)).to(self.device)
            edits = None if intervention is None else intervention.rows(numbers, self.device)
            # Left before the yield: what the caller does in between is not to run under our settings.
            with torch.no_grad(), autocast(self.device, self.dtype):
                logits_BV, hidden, cache = self.prefill(self.model, batch, self.capture, edits, whole)
            yield ReadPrompts(keep, numbers.numpy(), logits_BV, hidden, cache, edits)

    @torch.no_grad()
    def write(
        self, read: ReadPrompts, constrained: bool = True, sampling: Sampling | None = None, draw: int = 0
    ) -> Generated:
        """One program after each prompt that was read; sampling and draw as in `write_programs`."""
        tables, device, config = self.tables, self.device, self.model.config
        forbidden = ~tables.allowed if constrained else torch.zeros_like(tables.allowed)
        forbidden[:, self.model.words :] = True
        logits_BV, hidden = read.logits_BV, read.hidden
        rows = len(logits_BV)
        shape = (rows, config.n_head, self.steps, config.n_embd // config.n_head)
        new: Cache = [(k.new_zeros(shape), v.new_zeros(shape)) for k, v in read.cache]
        writer = Writer(
            tokens=torch.full((rows, self.steps), tables.pad_id, device=device),
            actions=torch.full((rows, self.max_actions), NO_ACTION, dtype=torch.uint8, device=device),
            lengths=torch.zeros(rows, dtype=torch.int64, device=device),
            state=torch.full((rows,), self.start_state, device=device),
            finished=torch.zeros(rows, dtype=torch.bool, device=device),
            valid=torch.ones(rows, dtype=torch.bool, device=device),
            hidden=None if hidden is None else hidden.new_zeros(rows, self.max_actions, *hidden.shape[1:]),
        )
        uniform_BS = None
        if sampling is not None:
            drawn = uniform_numbers(sampling.seed, draw, read.numbers, self.steps)
            uniform_BS = torch.from_numpy(drawn).to(device)
        # An edit of the last state goes into no cache: what it makes infinite is seen in its own step alone.
        finite = torch.ones((), dtype=torch.bool, device=device)
        numbers = [number.clone() for number in torch.arange(self.steps, device=device).split(1)]
        with autocast(self.device, self.dtype):
            # The last step's logits are not needed, but the graph that chooses a token is the one that goes on from it.
            for number in numbers:
                if read.intervention is not None:
                    finite &= logits_BV.isfinite().all()
                logits_BV, hidden, new, writer = self.step(
                    self.model, tables, forbidden, read.cache, new, writer, logits_BV, hidden, number, self.capture,
                    read.intervention, sampling, uniform_BS,
                )  # fmt: skip
        if read.intervention is not None:
            check_finite(torch.where(finite, logits_BV, torch.nan))
        keep = read.keep
        return Generated(
            tokens=writer.tokens[:keep].cpu().numpy(),
            actions=writer.actions[:keep].cpu().numpy(),
            lengths=writer.lengths[:keep].cpu().numpy().astype(np.int32),
            finished=writer.finished[:keep].cpu().numpy(),
            valid=writer.valid[:keep].cpu().numpy(),
            hidden=None if writer.hidden is None else writer.hidden[:keep].cpu(),
        )


@dataclass(slots=True)
class Tables:
    """A grammar on the model's device, of G states, and the tokens that end and pad a program."""

    next_state: Tensor  # int64 (G, V)
    allowed: Tensor  # bool (G, V)
    action_of_token: Tensor  # int64 (V,), -1 for tokens that are no action
    pad_id: int
    end_id: int


@dataclass(slots=True)
class Writer:
    """What has been written so far, row by row."""

    tokens: Tensor  # (B, S)
    actions: Tensor  # (B, A)
    lengths: Tensor  # (B,)
    state: Tensor  # (B,)
    finished: Tensor  # (B,)
    valid: Tensor  # (B,)
    hidden: Tensor | None  # (B, A, ...)


def prefill(
    model: Transformer, prompts_BP: Tensor, capture: Capture | None, intervention: Intervention | None, whole: int
) -> tuple[Tensor, Tensor | None, Cache]:
    """Read the prompts: logits (B, V) and captured state of their last position, and every layer's keys and values.

    Of the last block only the last position is computed, and every position's key and value: nobody reads more. whole:
    tokens of the prompt and the program, among which the intervention's positions are.
    """
    length = prompts_BP.shape[1]
    recorder = None if capture is None else Recorder(capture, model.states, length - 1, length)
    editor = None if intervention is None else Editor(intervention, intervention.numbers(whole, length)[:, :length])
    attend = ReadingAttention()
    x_B1D = model.backbone(prompts_BP, recorder, editor, first=length - 1, attend=attend)
    return *read_out(model, x_B1D, recorder), attend.cache


def step(
    model: Transformer,
    tables: Tables,
    forbidden: Tensor,
    prompt_cache: Cache,
    new_cache: Cache,
    writer: Writer,
    logits_BV: Tensor,
    hidden: Tensor | None,
    number: Tensor,
    capture: Capture | None,
    intervention: Intervention | None,
    sampling: Sampling | None,
    uniform_BS: Tensor | None,
) -> tuple[Tensor, Tensor | None, Cache, Writer]:
    """Choose token `number` (a tensor of one element) from the logits, write it down, and compute the logits after
    it.
    """
    chosen_B = choose(forbidden, writer, logits_BV, number, sampling, uniform_BS)
    token_B, writer = write(tables, writer, chosen_B, hidden, number)
    length = prompt_cache[0][0].shape[2]
    at = number + length
    recorder = None if capture is None else Recorder(capture, model.states, 0, 1)
    editor = None
    if intervention is not None:
        whole = length + writer.tokens.shape[1]
        editor = Editor(intervention, intervention.numbers(whole, length).index_select(1, at))
    attend = WritingAttention(prompt_cache, new_cache, number)
    x_B1D = model.backbone(token_B[:, None], recorder, editor, attend=attend, at=at)
    return *read_out(model, x_B1D, recorder), attend.cache, writer


def read_out(model: Transformer, x_B1D: Tensor, recorder: Recorder | None) -> tuple[Tensor, Tensor | None]:
    """Logits (B, V) and captured state (B, ...) of the only position."""
    return model.lm_head(x_B1D)[:, 0], None if recorder is None else recorder.result()[:, 0]


def choose(
    forbidden: Tensor,
    writer: Writer,
    logits_BV: Tensor,
    number: Tensor,
    sampling: Sampling | None,
    uniform_BS: Tensor | None,
) -> Tensor:
    """The next token of every row: the most probable one, or one drawn with a uniform number of its own."""
    logits_BV = logits_BV.float().masked_fill(forbidden[writer.state], float("-inf"))
    if sampling is None or uniform_BS is None:
        return logits_BV.argmax(dim=-1)
    return draw_tokens(logits_BV, uniform_BS.index_select(1, number)[:, 0], sampling)


def write(
    tables: Tables, writer: Writer, chosen_B: Tensor, hidden: Tensor | None, number: Tensor
) -> tuple[Tensor, Writer]:
    """The tokens as they are written and the writer after them. A finished row gets padding and changes no more."""
    live_B = ~writer.finished
    token_B = torch.where(live_B, chosen_B, tables.pad_id)
    valid_B = writer.valid & (writer.finished | tables.allowed[writer.state, token_B])
    state_B = torch.where(live_B, tables.next_state[writer.state, token_B], writer.state)
    action_B = tables.action_of_token[token_B]
    acts_B = live_B & (action_B >= 0)

    slots_A = torch.arange(writer.actions.shape[1], device=token_B.device)
    here_BA = acts_B[:, None] & (slots_A == writer.lengths[:, None])
    actions_BA = torch.where(here_BA, action_B[:, None].to(torch.uint8), writer.actions)
    kept = writer.hidden
    if kept is not None and hidden is not None:
        shape = here_BA.shape + (1,) * (hidden.ndim - 1)
        kept = torch.where(here_BA.view(shape), hidden[:, None], kept)
    here_S = torch.arange(writer.tokens.shape[1], device=token_B.device) == number
    return token_B, Writer(
        tokens=torch.where(here_S, token_B[:, None], writer.tokens),
        actions=actions_BA,
        lengths=torch.minimum(writer.lengths + acts_B, writer.lengths.new_full((), writer.actions.shape[1])),
        state=state_B,
        finished=writer.finished | (token_B == tables.end_id),
        valid=valid_B,
        hidden=kept,
    )
