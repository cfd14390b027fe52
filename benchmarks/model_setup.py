"""What the model suite compares: this project's Transformer and CodeGenForCausalLM of transformers with the same weights, and what each
does with them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import transformers
from torch import Tensor
from torch_measures import place
from transformers import CodeGenForCausalLM, LogitsProcessor

import karel_fast as kf
from karel_fast.data import Recipe, Samples, Tokenizer, generate
from karel_fast.data.tokens.grammar import Grammar
from karel_fast.model import Capture, Intervention, Transformer, model_config, to_hf
from karel_fast.model.compiling import compiled
from karel_fast.model.decode import Decoder, join
from karel_fast.model.device import autocast, repeatable, resolve_device, resolve_precision
from karel_fast.training.optim import OptimizerName, Optimizers
from karel_fast.training.targets import loss_sum


@dataclass(frozen=True)
class Size:
    """batch: rows of a training step and of a scoring pass. specifications: to decode, decode_batch at a time; ours are timed `decodings`
    times as one loop."""

    layers: int
    width: int
    heads: int
    batch: int
    specifications: int
    decode_batch: int
    decodings: int
    rounds: int
    recipe: Recipe


# The paper's recipe in the compact layout: 376 tokens of prompt and at most 11 of program.
MODEL_SIZES = {
    "quick": Size(1, 32, 4, 2, 8, 4, 2, 1, Recipe(examples=1, lengths=(2, 4))),
    "small": Size(4, 256, 4, 32, 256, 128, 4, 5, Recipe.paper()),
    "paper": Size(20, 1024, 16, 64, 10_000, 256, 1, 5, Recipe.paper()),
}


class Workbench:
    """The two models on one device, both in the precision that the device multiplies faster."""

    def __init__(self, size: Size, device_name: str, layout: str = "compact") -> None:
        torch.manual_seed(0)
        self.size = size
        self.device = resolve_device(device_name)
        self.dtype = resolve_precision("auto", self.device)
        self.precision = "bf16" if self.dtype == torch.bfloat16 else "fp32"
        self.tokenizer = Tokenizer(size.recipe, layout)
        self.model = Transformer(
            model_config(
                self.tokenizer.vocab_size, self.tokenizer.sequence_length,
                layers=size.layers, width=size.width, heads=size.heads, prompt_length=self.tokenizer.prompt_length,
                pad_id=self.tokenizer.pad_id, end_id=self.tokenizer.end_id, row_code=self.tokenizer.row_code,
            )
        )  # fmt: skip
        # Larger than at initialisation, so that every part of the model matters.
        for name, parameter in self.model.named_parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=1.0 if name == "wte.weight" else 2 * size.width**-0.5 / 3)
        with tempfile.TemporaryDirectory() as folder:
            to_hf(self.model, folder)
            self.stock: Any = CodeGenForCausalLM.from_pretrained(folder, attn_implementation="eager")
        self.model.to(self.device)
        self.stock.to(self.device)
        samples = generate(size.recipe, count=size.batch)
        self.tokens_BT = torch.from_numpy(self.tokenizer.encode(samples).astype(np.int64)).to(self.device)

    @property
    def tolerance(self) -> float:
        """How near two ways to compute the same must come, relative to its size."""
        return 0.03 if self.dtype == torch.bfloat16 else 1e-4

    def assert_same(self, found: Tensor, expected: Tensor) -> None:
        found, expected = found.float(), expected.float()
        assert found.shape == expected.shape
        assert (found - expected).norm() <= self.tolerance * expected.norm()

    @property
    def setting(self) -> dict[str, Any]:
        """What was compared, where: for the table's last lines."""
        return {
            **place(self.device),
            "precision": self.precision,
            "transformers": transformers.__version__,
            "batch": self.size.batch,
            "tokens of a row": self.tokens_BT.shape[1],
            "specifications": self.size.specifications,
            "decode batch": self.size.decode_batch,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "model": self.model.config.to_diff_dict(),
            "recipe": self.size.recipe.hash,
        }

    def waited(self, action: Callable[[], Any]) -> Callable[[], Any]:
        """The action, and then waiting for the device."""

        def run() -> Any:
            found = action()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            return found

        return run

    @property
    def step_flops(self) -> float:
        """Floating-point operations of a training step with the loss of all tokens; a row's last token is only a target."""
        rows, length = self.tokens_BT.shape
        return rows * (length - 1) * self.model.flops_per_token(length - 1)

    # Training: forward, backward, clipping and a step of the optimizer that changes nothing. Each returns the loss.

    def our_step(self, optimizer: OptimizerName, loss: Literal["all", "program"] = "all") -> Callable[[], float]:
        pad, first = self.tokenizer.pad_id, 0 if loss == "all" else self.tokenizer.prompt_length - 1
        targets = int((self.tokens_BT[:, first + 1 :] != pad).sum())
        optimizers = Optimizers(
            self.model, optimizer, lr=0.0, weight_decay=0.0, betas=(0.9, 0.98), momentum=0.95, muon_dtype=self.dtype
        )

        def mean_loss(tokens_BT: Tensor) -> Tensor:
            with autocast(self.device, self.dtype):
                return loss_sum(self.model, tokens_BT, first, pad) / targets

        run = compiled(mean_loss)

        def step() -> float:
            with repeatable(self.device):
                value = run(self.tokens_BT)
                value.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimizers.step(0.0)
            return value.item()

        return step

    def stock_step(self, dtype: torch.dtype, compile: bool) -> Callable[[], float]:
        labels = self.tokens_BT.masked_fill(self.tokens_BT == self.tokenizer.pad_id, -100)
        mask = torch.ones_like(self.tokens_BT)
        optimizer = torch.optim.AdamW(self.stock.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True)

        def mean_loss() -> Tensor:
            with autocast(self.device, dtype):
                return self.stock(input_ids=self.tokens_BT, attention_mask=mask, labels=labels, use_cache=False).loss

        run = torch.compile(mean_loss, dynamic=False) if compile else mean_loss

        def step() -> float:
            value = run()
            value.backward()
            torch.nn.utils.clip_grad_norm_(self.stock.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return value.item()

        return step

    # Scoring: the logits from a position on, and the mean state at the positions that predict the program.

    def our_score(self, start: int, intervention: Intervention | None = None) -> Callable[[Capture | None], Any]:
        run = compiled(
            lambda tokens_BT, capture: self.model(tokens_BT, capture, intervention=intervention, logits_from=start)
        )

        def score(capture: Capture | None) -> Any:
            with torch.no_grad(), autocast(self.device, self.dtype):
                return run(self.tokens_BT, capture)

        return score

    def stock_score(self, start: int, states: bool = True) -> Any:
        """The usual way: keep every hidden state, stack them, take the mean."""
        with torch.no_grad(), autocast(self.device, self.dtype):
            length = self.tokens_BT.shape[1]
            out = self.stock(
                self.tokens_BT, output_hidden_states=states, use_cache=False, logits_to_keep=length - start
            )
            if not states:
                return out.logits
            return out.logits, torch.stack(out.hidden_states).mean(0)[:, self.program]

    def nnsight_score(self, start: int) -> Callable[[], Any] | None:
        """The same with nnsight, keeping a running sum at those positions only; None where it is not installed."""
        try:
            from nnsight import NNsight
        except ImportError:
            return None
        peer = NNsight(self.stock)

        def score() -> Any:
            keep = self.tokens_BT.shape[1] - start
            with (
                torch.no_grad(),
                autocast(self.device, self.dtype),
                peer.trace(self.tokens_BT, use_cache=False, logits_to_keep=keep),
            ):
                blocks = peer.transformer.h
                total = peer.transformer.drop.output[:, self.program]
                for block in blocks[:-1]:
                    total = total + block.output[0][:, self.program]
                mean = ((total + peer.transformer.ln_f.output[:, self.program]) / (len(blocks) + 1)).save()
                logits = peer.lm_head.output.save()
            return logits, mean

        return score

    @property
    def program(self) -> slice:
        return slice(self.tokenizer.prompt_length - 1, self.tokens_BT.shape[1] - 1)

    # Decoding: greedy under the grammar.

    def decoder(self, dtype: torch.dtype) -> Decoder:
        steps = self.tokenizer.program_length
        ids = {"pad_id": self.tokenizer.pad_id, "end_id": self.tokenizer.end_id}
        return Decoder(self.model, self.tokenizer.grammar(), steps, Capture("mean"), dtype=dtype, **ids)

    def our_decode(self, decoder: Decoder, prompts: np.ndarray) -> Any:
        return join([decoder.write(read) for read in decoder.read(prompts, self.size.decode_batch)])

    @torch.no_grad()
    def stock_decode(self, dtype: torch.dtype, prompts: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Tokens (n, S) and the mean state that predicted each, (n, S, D)."""
        tokenizer, grammar = self.tokenizer, self.tokenizer.grammar()
        steps = tokenizer.program_length
        tokens, states = [], []
        for start in range(0, len(prompts), self.size.decode_batch):
            batch = torch.from_numpy(prompts[start : start + self.size.decode_batch].astype(np.int64)).to(self.device)
            with autocast(self.device, dtype):
                made = self.stock.generate(
                    batch, attention_mask=torch.ones_like(batch), max_new_tokens=steps, do_sample=False,
                    pad_token_id=tokenizer.pad_id, eos_token_id=tokenizer.end_id,
                    logits_processor=[GrammarMask(grammar, self.device)],
                    output_hidden_states=True, return_dict_in_generate=True,
                )  # fmt: skip
            new = made.sequences[:, batch.shape[1] :]
            tokens.append(torch.nn.functional.pad(new, (0, steps - new.shape[1]), value=tokenizer.pad_id))
            mean = torch.stack([torch.stack(layers).mean(0)[:, -1] for layers in made.hidden_states], dim=1)
            states.append(torch.nn.functional.pad(mean, (0, 0, 0, steps - mean.shape[1])).cpu())
        return torch.cat(tokens).cpu().numpy(), torch.cat(states)

    def python_check(self, tokens: np.ndarray, samples: Samples) -> np.ndarray:
        """Which of the programs satisfy their specifications, by the plain-Python interpreter; bool (n,)."""
        grammar, examples = self.tokenizer.grammar(), samples.recipe.examples
        inputs, outputs = samples.shown()
        right = []
        for i, row in enumerate(tokens):
            ended = np.flatnonzero(row == self.tokenizer.end_id)
            actions = grammar.action_of_token[row[: ended[0] if len(ended) else None]].tolist()
            shown = slice(i * examples, (i + 1) * examples)
            result = kf.run(kf.Program.from_actions(actions), inputs[shown], backend="reference")
            right.append(bool(len(ended)) and bool(result.worlds.same_text(outputs[shown]).all()))
        return np.array(right)


class GrammarMask(LogitsProcessor):
    """The grammar as `generate` of transformers takes it; its state goes on from token to token."""

    def __init__(self, grammar: Grammar, device: torch.device) -> None:
        self.next_state = torch.from_numpy(grammar.next_state.astype(np.int64)).to(device)
        self.forbidden = torch.from_numpy(~grammar.allowed).to(device)
        self.start, self.state = grammar.start_state, None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.state is None:
            self.state = torch.full((len(scores),), self.start, device=scores.device)
        else:
            self.state = self.next_state[self.state, input_ids[:, -1]]
        return scores.masked_fill(self.forbidden[self.state], float("-inf"))
