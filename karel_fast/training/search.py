"""What a model could write beside its greedy program: programs drawn at random (pass@k), and beam search.

Shapes: n samples, N draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from karel_fast.data import Samples, Tokenizer
from karel_fast.karel.language import CompiledPrograms, compile
from karel_fast.model import Transformer
from karel_fast.model.beam import beam_search
from karel_fast.model.decode import Decoder, Generated, join
from karel_fast.model.sampling import Sampling
from karel_fast.training.config import SearchConfig
from karel_fast.training.written import generated_programs, satisfied


def search_metrics(
    model: Transformer,
    tokenizer: Tokenizer,
    samples: Samples,
    search: SearchConfig,
    *,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    compile_model: bool = True,
) -> dict[str, Any]:
    """`draw_metrics` and `beam_metrics`, of each as far as the settings ask for it. Shares are of all samples."""
    settings: dict[str, Any] = {"batch_size": batch_size, "dtype": dtype, "compile": compile_model}
    metrics: dict[str, Any] = {}
    if search.draws:
        metrics |= draw_metrics(model, tokenizer, samples, search, **settings)
    if search.beam_width:
        metrics |= beam_metrics(model, tokenizer, samples, search, **settings)
    return metrics


def draw_metrics(
    model: Transformer,
    tokenizer: Tokenizer,
    samples: Samples,
    search: SearchConfig,
    *,
    batch_size: int,
    dtype: torch.dtype,
    compile: bool,
) -> dict[str, Any]:
    """Programs drawn under the grammar, search.draws for each sample.

    pass_at_k: {k: the share of samples of which at least one of k drawn programs satisfies every shown example}, for k = 1, 2,
    4, .. and the number of draws, by `pass_at_k`; pass_at_k_generalization: the same of every held-out example as well (None
    without any); pass_at_k_prior: its base rate, with the reference programs of other samples in place of the draws (None if
    there are too few); drawn_distinct: different programs of a sample, on average.
    """
    sampling = Sampling(search.temperature, search.top_p, search.draw_seed)
    written = drawn_programs(
        model, tokenizer, samples, sampling, search.draws, batch_size=batch_size, dtype=dtype, compile=compile
    )
    found = [right_programs(tokenizer, one, samples) for one in written]
    tokens = np.stack([one.tokens for one in written], axis=1)
    return {
        "draws": search.draws,
        "temperature": search.temperature,
        "top_p": search.top_p,
        "pass_at_k": passes([shown for shown, _ in found]),
        "pass_at_k_generalization": passes([both for _, both in found if both is not None]),
        "pass_at_k_prior": prior_passes(samples, search.draws),
        "drawn_distinct": float(np.mean([len(np.unique(rows, axis=0)) for rows in tokens])),
    }


def drawn_programs(
    model: Transformer,
    tokenizer: Tokenizer,
    samples: Samples,
    sampling: Sampling | None,
    draws: int,
    *,
    constrained: bool = True,
    batch_size: int,
    dtype: torch.dtype,
    compile: bool,
) -> list[Generated]:
    """N programs for each sample's shown examples, draw by draw; the other arguments as `karel_fast.model.write_programs` takes them.

    The programs of a sample depend on the seed and on which sample of its split it is, not on its company.
    """
    decoder = Decoder(
        model, tokenizer.grammar(), tokenizer.program_length, pad_id=tokenizer.pad_id, end_id=tokenizer.end_id,
        dtype=dtype, compile=compile,
    )  # fmt: skip
    parts: list[list[Generated]] = [[] for _ in range(draws)]
    for read in decoder.read(tokenizer.encode_prompts(samples), batch_size):
        read.numbers = read.numbers + samples.start
        for draw, of_draw in enumerate(parts):
            of_draw.append(decoder.write(read, constrained, sampling, draw))
    return [join(of_draw) for of_draw in parts]


def beam_metrics(
    model: Transformer,
    tokenizer: Tokenizer,
    samples: Samples,
    search: SearchConfig,
    *,
    batch_size: int,
    dtype: torch.dtype,
    compile: bool,
) -> dict[str, Any]:
    """The best programs that a beam search finds, see `karel_fast.model.beam`.

    beam_accuracy and beam_generalization: of the best program, as generative_accuracy and generalization are of the greedy
    one; beam_any: the share of samples with a program that satisfies every shown example anywhere in the beam;
    beam_log_probability: of the best programs that ended, nats, on average (None if none did).
    """
    beams = beam_search(
        model, tokenizer.encode_prompts(samples), tokenizer.grammar(), tokenizer.program_length,
        search.beam_width, pad_id=tokenizer.pad_id, end_id=tokenizer.end_id, length_penalty=search.length_penalty,
        batch_size=batch_size, dtype=dtype, compile=compile,
    )  # fmt: skip
    found = [right_programs(tokenizer, beams.programs(rank), samples) for rank in range(search.beam_width)]
    shown, both = found[0]
    ended = beams.log_probability[:, 0][beams.finished[:, 0]]
    return {
        "beam_width": search.beam_width,
        "length_penalty": search.length_penalty,
        "beam_accuracy": float(shown.mean()),
        "beam_generalization": None if both is None else float(both.mean()),
        "beam_any": float(np.any([right for right, _ in found], axis=0).mean()),
        "beam_log_probability": float(ended.mean()) if len(ended) else None,
    }


def right_programs(tokenizer: Tokenizer, written: Generated, samples: Samples) -> tuple[np.ndarray, np.ndarray | None]:
    """bool (n,) each: ended and right on every shown example, and on every held-out one as well (None without any)."""
    shown, held_out = satisfied(generated_programs(tokenizer, written), samples)
    shown &= written.finished
    return shown, None if held_out is None else shown & held_out


def passes(right: Sequence[np.ndarray]) -> dict[str, float] | None:
    """pass@k for k = 1, 2, 4, .. and all, of bool (n,) for each of N draws; None without draws."""
    draws = len(right)
    if not draws:
        return None
    counts = np.sum(right, axis=0)
    return {str(k): float(pass_at_k(counts, draws, k).mean()) for k in ks(draws)}


def ks(draws: int) -> list[int]:
    """1, 2, 4, .. and the number of draws."""
    return sorted({2**power for power in range(draws.bit_length())} | {draws})


def pass_at_k(right: np.ndarray, draws: int, k: int) -> np.ndarray:
    """float64 (n,): the chance that k of N draws, taken without putting back, hold a right one: 1 - C(N - c, k) / C(N, k).

    right: integers (n,), how many of each sample's N draws are right. It is unbiased, which 1 - (1 - c / N)**k is not (Chen et
    al., "Evaluating Large Language Models Trained on Code", 2021, section 2.1).
    """
    if not 1 <= k <= draws:
        raise ValueError(f"k={k}: use 1 to the number of draws, {draws}")
    wrong = (draws - right)[:, None] - np.arange(k)
    return 1.0 - np.prod(np.maximum(wrong, 0) / (draws - np.arange(k)), axis=1)


def prior_passes(samples: Samples, draws: int) -> dict[str, float] | None:
    """pass@k of programs that know nothing of the specification: the reference programs of the next samples, in turn."""
    if len(samples) <= draws:
        return None
    return passes([satisfied(_others(samples, shift), samples)[0] for shift in range(1, draws + 1)])


def _others(samples: Samples, shift: int) -> CompiledPrograms:
    """For each sample, the reference program of the one so many places on."""
    symbols, lengths = np.roll(samples.symbols, -shift, axis=0), np.roll(samples.lengths, -shift)
    if samples.recipe.straight_line:
        return CompiledPrograms.from_actions(symbols, lengths)
    programs = list(samples.programs)
    return compile(programs[shift:] + programs[:shift])
