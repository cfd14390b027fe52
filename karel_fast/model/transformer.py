"""The CodeGen language model as one compact, fully compilable module.

Architecture (that of transformers' CodeGenForCausalLM): pre-LayerNorm; attention and MLP in parallel on the same
normalised input; partial rotary position embedding; GELU (tanh form) with a 4x inner layer; no dropout; untied output
head with a bias.

Two layouts differ from the stock module, both undone exactly by `hub.py`: the fused query/key/value matrix is plain
[q; k; v] (stock: four groups of q, v, k), and inside each head the rotary dimensions are stored halves apart instead
of interleaved. The second turns the rotation's strided reads into contiguous ones and leaves every score q.k what it
was, because queries and keys are permuted alike.

Shapes: B rows, T tokens, D width, H heads, E head width (D / H), V vocabulary, R half the rotated dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CodeGenConfig

from karel_fast.model.attention import causal_attention
from karel_fast.model.capture import Capture, Recorder
from karel_fast.model.intervention import Editor, Intervention
from karel_fast.model.mlp import MLP
from karel_fast.model.rotary import rotary_table, rotate
from karel_fast.model.rows import RowEmbedding, row_code_of
from karel_fast.model.selection import span
from karel_fast.support.row_code import RowCode

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values (B, H, T, E) -> what each query takes from the values, (B, H, T, E)."""
BlockAttend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""The same for the block of that number."""
CODEGEN_GROUPS = 4  # stock CodeGen splits its heads over four groups, whatever the hardware


def check_config(config: CodeGenConfig) -> None:
    """Raise ValueError unless the config describes a model that both this module and CodeGenForCausalLM can be."""
    width, heads, rotary = config.n_embd, config.n_head, config.rotary_dim
    if heads < 1 or heads % CODEGEN_GROUPS:
        raise ValueError(
            f"heads (n_head) is {heads}: CodeGen splits its heads over {CODEGEN_GROUPS} groups; use a multiple of {CODEGEN_GROUPS}"
        )
    if width % heads:
        raise ValueError(f"width (n_embd) is {width}; use a multiple of heads (n_head), {heads}")
    if not 2 <= rotary <= width // heads or rotary % 2:
        raise ValueError(f"rotary_dim={rotary}: use an even number from 2 to the head width {width // heads}")
    if config.n_layer < 1 or config.vocab_size < 2 or config.n_positions < 2:
        raise ValueError(
            f"n_layer={config.n_layer}, vocab_size={config.vocab_size}, "
            f"n_positions={config.n_positions}: need at least 1, 2, 2"
        )
    if config.activation_function not in ("gelu_new", "gelu_pytorch_tanh"):
        raise ValueError(f"activation_function={config.activation_function!r}: only gelu_new is supported")
    if max(config.resid_pdrop, config.embd_pdrop, config.attn_pdrop) > 0:
        raise ValueError("dropout is not supported: set resid_pdrop, embd_pdrop and attn_pdrop to 0")
    if config.tie_word_embeddings:
        raise ValueError("tie_word_embeddings=True is not supported: CodeGen's head is untied")
    row_code_of(config)


def model_config(
    vocab_size: int,
    context: int,
    *,
    layers: int,
    width: int,
    heads: int,
    rotary_dim: int | None = None,
    prompt_length: int | None = None,
    pad_id: int | None = None,
    end_id: int | None = None,
    row_code: RowCode | None = None,
) -> CodeGenConfig:
    """A CodeGenConfig of this size; rotary_dim defaults to half the head width (even, at least 2).

    The paper's model: layers=20, width=1024, heads=16, rotary_dim=32 (the 350 M CodeGen). `prompt_length` lets
    `Capture(positions="program")` find the program; row_code is the tokenizer's. Raises ValueError as `check_config`.
    """
    tokens: dict[str, Any] = {"pad_token_id": pad_id, "bos_token_id": None, "eos_token_id": end_id}
    config = CodeGenConfig(
        vocab_size=vocab_size,
        n_positions=context,
        n_ctx=context,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        rotary_dim=max(2, width // max(1, heads) // 4 * 2) if rotary_dim is None else rotary_dim,
        **tokens,
        use_cache=True,
        tie_word_embeddings=False,
        architectures=["CodeGenForCausalLM"],
    )
    if prompt_length is not None:
        config.prompt_length = prompt_length
    if row_code is not None:
        config.row_cells, config.row_signs = row_code.cells, row_code.signs
    check_config(config)
    return config


class Attention(nn.Module):
    """The two projections of an attention layer; the attention itself is handed in by the caller (causal, or over a
    cache).
    """

    def __init__(self, config: CodeGenConfig) -> None:
        super().__init__()
        self.heads = config.n_head
        self.rotary_dim = config.rotary_dim
        self.qkv_proj = nn.Linear(config.n_embd, 3 * config.n_embd, bias=False)
        self.out_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)

    def forward(self, x_BTD: Tensor, sin_TR: Tensor, cos_TR: Tensor, attend: Attend, first: int) -> Tensor:
        """What the positions from `first` on take from all before them, (B, T - first, D)."""
        if first == 0:
            q_BHTE, k_BHTE, v_BHTE = self.split_heads(self.qkv_proj(x_BTD), 3)
        else:
            width = x_BTD.shape[2]
            query, key_value = self.qkv_proj.weight.split((width, 2 * width))
            (q_BHTE,) = self.split_heads(F.linear(x_BTD[:, first:], query), 1)
            k_BHTE, v_BHTE = self.split_heads(F.linear(x_BTD, key_value), 2)
        q_BHTE = rotate(q_BHTE, sin_TR[first:], cos_TR[first:])
        k_BHTE = rotate(k_BHTE, sin_TR, cos_TR)
        mixed_BHTE = attend(q_BHTE, k_BHTE, v_BHTE)
        return self.out_proj(mixed_BHTE.transpose(1, 2).flatten(2))

    def split_heads(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, T, parts * D) -> `parts` tensors (B, H, T, E)."""
        rows, length, width = projected.shape
        return (
            projected.view(rows, length, parts, self.heads, width // parts // self.heads)
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )


class Block(nn.Module):
    """LayerNorm, then attention and MLP side by side; both are added to the residual stream."""

    def __init__(self, config: CodeGenConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config)
        self.mlp = MLP(config)

    def forward(
        self,
        x_BTD: Tensor,
        sin_TR: Tensor,
        cos_TR: Tensor,
        attend: Attend = causal_attention,
        *,
        first: int = 0,
        offer: Callable[..., None] | None = None,
    ) -> Tensor:
        """The residual stream after this block at the positions from `first` on, (B, T - first, D).

        offer: takes what the block adds to the stream, (x, first=, point=) as `Recorder.add`.
        """
        n_BTD = self.ln_1(x_BTD)
        attn_BTD, mlp_BTD = self.attn(n_BTD, sin_TR, cos_TR, attend, first), self.mlp(n_BTD[:, first:])
        if offer is not None:
            offer(attn_BTD, first=first, point="attn_out")
            offer(mlp_BTD, first=first, point="mlp_out")
        return x_BTD[:, first:] + attn_BTD + mlp_BTD


class Transformer(nn.Module):
    """CodeGen, configured by `transformers.CodeGenConfig`; weights go to and from transformers through `hub`.

    `model(tokens)` -> logits (B, T, V); `model(tokens, capture=Capture(...))` -> (logits, hidden), see `Capture`;
    `model(tokens, intervention=Intervention(...))`: the same with states edited, see there. tokens is an integer tensor
    (B, T) with T at most config.n_positions. With `logits_from` only the positions from there on get logits
    (B, T - logits_from, V), and the last block is computed for no others.

    Raises ValueError for a config that CodeGen cannot be (see `check_config`), sequences longer than the context, or
    a capture or an intervention that names an unknown layer or position or does not fit.
    """

    sin: Tensor
    cos: Tensor

    def __init__(self, config: CodeGenConfig) -> None:
        super().__init__()
        check_config(config)
        self.config = config
        self.row_code = row_code_of(config)
        self.wte = (
            nn.Embedding(config.vocab_size, config.n_embd)
            if self.row_code is None
            else RowEmbedding(self.row_code, config.n_embd)
        )
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size)
        sin, cos = rotary_table(config.n_positions, config.rotary_dim)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("cos", cos, persistent=False)
        self.reset_parameters()

    @property
    def states(self) -> int:
        """How many hidden states a position has: the embedding output and one per block."""
        return self.config.n_layer + 1

    @property
    def words(self) -> int:
        """How many tokens there are that it can be asked to write: those with a column of their own among the logits."""
        return self.config.vocab_size if self.row_code is None else self.row_code.words

    @property
    def tokens(self) -> int:
        """How many tokens there are that it can read."""
        return self.config.vocab_size if self.row_code is None else self.row_code.tokens

    @property
    def prompt_length(self) -> int | None:
        return getattr(self.config, "prompt_length", None)

    def reset_parameters(self) -> None:
        """Stock initialisation: matrices and embedding normal with config.initializer_range, biases zero, LayerNorms
        identity.
        """
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=self.config.initializer_range)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.ones_(parameter)

    @overload
    def forward(
        self,
        tokens_BT: Tensor,
        capture: None = None,
        *,
        intervention: Intervention | None = None,
        logits_from: int = 0,
    ) -> Tensor: ...
    @overload
    def forward(
        self,
        tokens_BT: Tensor,
        capture: Capture,
        *,
        intervention: Intervention | None = None,
        logits_from: int = 0,
    ) -> tuple[Tensor, Tensor]: ...

    def forward(
        self,
        tokens_BT: Tensor,
        capture: Capture | None = None,
        *,
        intervention: Intervention | None = None,
        logits_from: int = 0,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (B, T - logits_from, V), with a capture the hidden states as well; arguments and errors as the class says.

        Raises ValueError for tokens that are no integers (B, T), or a logits_from that is not among them, too.
        """
        tokens_BT = self.as_tokens(tokens_BT)
        rows, length = tokens_BT.shape
        if not 0 <= logits_from < length:
            raise ValueError(f"logits_from={logits_from}: the sequences have {length} tokens (0..{length - 1})")
        editor = None
        if intervention is not None:
            intervention.check(rows, length, self.states, self.config.n_embd, self.prompt_length)
            editor = self.editor(intervention, length)
        if capture is None:
            return self.lm_head(self.backbone(tokens_BT, editor=editor, first=logits_from))
        capture.check(rows, length, self.states)
        recorder = self.recorder(capture, length)
        first = min(logits_from, recorder.start)
        x_BTD = self.backbone(tokens_BT, recorder, editor, first=first)
        return self.lm_head(x_BTD[:, logits_from - first :]), recorder.result()

    def recorder(self, capture: Capture, length: int) -> Recorder:
        """What collects the captured states of sequences of so many tokens."""
        return Recorder(capture, self.states, *span(capture.positions, self.prompt_length, length))

    def editor(self, intervention: Intervention, length: int) -> Editor:
        """What edits the states of sequences of so many tokens."""
        return Editor(intervention, intervention.numbers(length, self.prompt_length))

    def backbone(
        self,
        tokens_BT: Tensor,
        recorder: Recorder | None = None,
        editor: Editor | None = None,
        *,
        first: int = 0,
        attend: BlockAttend | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """The normalised residual stream that the head reads, (B, T - first, D): that of the positions from `first` on.

        This is the one loop over the blocks. Training, scoring, reading prompts and writing a token differ in what they
        hand in: attend (None: causal, among these tokens), at (T,), the tokens' places in their sequences (None: from the
        beginning on), a recorder and an editor, which sees a state before the recorder does.

        The last block is computed from `first` on only; the recorder must not ask for earlier positions.
        """
        length = tokens_BT.shape[1]
        if at is None:
            sin_TR, cos_TR = self.sin[:length], self.cos[:length]
        else:
            sin_TR, cos_TR = self.sin.index_select(0, at), self.cos.index_select(0, at)
        x_BTD = self.wte(tokens_BT)
        last = len(self.h) - 1
        for index, block in enumerate(self.h):
            if editor is not None:
                x_BTD = editor.edit(index, x_BTD)
            if recorder is not None:
                recorder.add(index, x_BTD)
            attend_here = causal_attention if attend is None else partial(attend, index)
            offer = None if recorder is None else partial(recorder.add, index + 1)
            x_BTD = block(x_BTD, sin_TR, cos_TR, attend_here, first=first if index == last else 0, offer=offer)
        return self.finish(x_BTD, recorder, editor, first)

    def finish(self, x_BTD: Tensor, recorder: Recorder | None, editor: Editor | None, first: int) -> Tensor:
        """The final LayerNorm, with the last state edited and offered before or after it, as they ask. `first` is the
        position that the tensor begins with.
        """
        last = self.config.n_layer
        if editor is not None and not editor.intervention.final_norm:
            x_BTD = editor.edit(last, x_BTD, first)
        normed_BTD = self.ln_f(x_BTD)
        if editor is not None and editor.intervention.final_norm:
            normed_BTD = editor.edit(last, normed_BTD, first)
        if recorder is not None:
            recorder.add(last, normed_BTD if recorder.capture.final_norm else x_BTD, first)
        return normed_BTD

    def as_tokens(self, tokens_BT: Tensor) -> Tensor:
        """Tokens as the embedding takes them. Raises ValueError unless they are integers (B, T), with T within the context."""
        if tokens_BT.ndim != 2 or tokens_BT.is_floating_point():
            raise ValueError(
                f"tokens of {tokens_BT.dtype}, shape {tuple(tokens_BT.shape)}: need integers (rows, tokens)"
            )
        self.check_length(tokens_BT.shape[1])
        return (
            tokens_BT if tokens_BT.dtype in (torch.int32, torch.int64) else tokens_BT.long()
        )  # a stream's rows are bytes

    def check_length(self, length: int) -> None:
        """Raise ValueError for sequences of more tokens than the context has."""
        if length > self.config.n_positions:
            raise ValueError(
                f"sequence of {length} tokens: this model's context is n_positions={self.config.n_positions}"
            )

    def flops_per_token(self, length: int, first: int = 0) -> float:
        """Floating-point operations of a forward and backward pass over `length` tokens, per token, when logits are
        wanted from position `first` on (see `backbone`).

        Counted are matrix products, 2 per multiplication forward and twice that backward: 6 per weight and position that
        meets it, and attention without its causal half cut. Lookups, normalisation and all else between products are not.
        """
        width = self.config.n_embd
        *blocks, last = self.h
        share = (length - first) / length  # of the positions, those that the last block and the head are computed for
        everywhere = (
            sum(_matrix_weights(block) for block in blocks) + 2 * width * width
        )  # the last block's keys, values
        later = _matrix_weights(last) - 2 * width * width + self.lm_head.weight.numel()
        return 6.0 * (everywhere + share * later) + 12.0 * (len(blocks) + share) * width * length


def fresh_model(config: CodeGenConfig, seed: int, device: str | torch.device = "cpu") -> Transformer:
    """A model before training, its weights from `seed` alone, whatever the device; torch's own random state stays as it is.

    Raises ValueError as `Transformer`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # of the CPU: torch.manual_seed would set the devices' as well
        return Transformer(config).to(device)


def _matrix_weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.ndim == 2)
