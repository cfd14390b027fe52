"""How well a snapshot writes programs for unseen specifications.

Shapes: n samples, E examples each, T tokens of a row, P prompt tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from karel_fast.data import Samples, Tokenizer
from karel_fast.data.sampling.active_examples import ActiveExamples
from karel_fast.data.tokens.interpreter import is_interpreter
from karel_fast.exact.ideal_loss import Floor, floor
from karel_fast.exact.solution import Solution, solve
from karel_fast.karel.language import CompiledPrograms
from karel_fast.model import Capture, Transformer
from karel_fast.model.decode import Decoder, Generated, join
from karel_fast.model.device import memory_advice, resolve_device, resolve_precision
from karel_fast.runs.snapshots import open_snapshot
from karel_fast.support.checks import NotFiniteError
from karel_fast.support.row_code import vocabulary_text
from karel_fast.training.config import SearchConfig
from karel_fast.training.divergence import divergence_metrics
from karel_fast.training.search import search_metrics
from karel_fast.training.text import action_counts, perplexity, program_loss, text_metrics, token_losses
from karel_fast.training.written import generated_programs, one_for_all, satisfied

DIVERSITY_SAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Evaluation:
    """metrics: see `evaluate`. generated: the programs written under the grammar, with captured hidden states.
    correct: bool (n,), all shown examples satisfied; generalizes: bool (n,), the held-out ones too (None if the
    samples have none).
    """

    metrics: dict[str, Any]
    generated: Generated
    correct: np.ndarray
    generalizes: np.ndarray | None


def evaluate(
    snapshot: str | Path | Transformer,
    tokenizer: Tokenizer,
    samples: Samples,
    *,
    capture: Capture | None = None,
    free: bool = True,
    ideal: bool = False,
    text: bool = True,
    search: SearchConfig | None = None,
    active: ActiveExamples | None = None,
    batch_size: int = 256,
    device: str = "auto",
    precision: str = "auto",
    compile_model: bool = True,
    any_recipe: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Let a snapshot write a program for each sample's shown examples, run the programs, and compare.

    metrics (shares are of all samples):
      samples; generative_accuracy: every shown example satisfied (the paper's measure); generalization: every
      held-out one as well (None if there are none); exact_match: the reference program itself; perplexity: of the
      reference programs with their end token, per token; loss: its logarithm; finished: ended in time;
      distinct_programs: how many different ones; diversity: the share of different ones among the first
      DIVERSITY_SAMPLES, which does not fall with the number of samples; top_program and top_share: the most frequent
      one; one_for_all and one_for_all_accuracy: the one that satisfies most specifications if it is written for all of
      them, and their share (see `written.one_for_all`; None if no program ended); mean_length and
      reference_mean_length: in actions; parse_rate: well-formed and ended in free decoding,
      without the grammar (None for free=False); and, for ideal=True (see `ideal_metrics`), floor_loss,
      floor_perplexity, excess_length, ideal_generalization, solver_accuracy, solver_generalization, and what
      `divergence.divergence_metrics` has; for text=True what `text.text_metrics` has; and what `search` asks for (see
      `search.search_metrics`).

    active: which shown examples tell the truth, and what stands for the others' outputs; programs are right that are so on the
    active ones, or with none active on all. Not with ideal or search.

    snapshot: a folder, or a model (then no recipe is checked; it is left on `device`, in eval mode). any_recipe: let the
    snapshot's recipe differ from the tokenizer's. Raises ValueError if recipe, layout, vocabulary or context do not match,
    there is no sample, or specifications that `kf.exact.solve` refuses are to be solved; NotFiniteError for a model whose
    weights or loss are not finite. A perplexity too large for a number is None.
    """
    if len(samples) == 0:
        raise ValueError("there is no sample to evaluate on")
    if is_interpreter(tokenizer):
        raise ValueError(
            "a model of the interpreter's rows writes outputs, not programs: use training.interpret.interpret"
        )
    model, name, dtype = ready_model(snapshot, tokenizer, device, precision, any_recipe)
    seen, mask = samples, None
    if active is not None and not active.all_active:
        if ideal or (search is not None and (search.draws or search.beam_width)):
            raise ValueError(
                "ideal and search are about specifications all of whose examples are true; leave out active"
            )
        seen, mask = active.shown(samples), active.mask(samples) if active.active_examples else None
    settings: dict[str, Any] = {"batch_size": batch_size, "dtype": dtype, "compile_model": compile_model}
    rows_nT = tokenizer.encode(seen)
    reference = rows_nT[:, tokenizer.prompt_length :]
    with memory_advice(f"lower batch_size ({batch_size})"):
        generated, parsed = _write(model, tokenizer, seen, capture, free, progress, **settings)
        losses_nT = token_losses(model, rows_nT, tokenizer.pad_id, **settings)
    loss = program_loss(tokenizer, rows_nT, losses_nT)
    if not math.isfinite(loss):
        raise NotFiniteError(f"{name}: its loss is not finite ({loss}); its training has diverged")
    programs = generated_programs(tokenizer, generated)
    shown, held_out = satisfied(programs, samples, mask)
    correct = shown & generated.finished
    generalizes = None if held_out is None else correct & held_out
    metrics = {
        "samples": len(samples),
        "generative_accuracy": float(correct.mean()),
        "generalization": None if generalizes is None else float(generalizes.mean()),
        "exact_match": float((reference == generated.tokens).all(axis=1).mean()),
        "perplexity": perplexity(loss),
        "loss": loss,
        "finished": float(generated.finished.mean()),
        **_most_frequent(programs, generated, samples, mask),
        "mean_length": float(generated.lengths.mean()),
        "reference_mean_length": float(action_counts(tokenizer, reference).mean()),
        "parse_rate": parsed / len(samples) if free else None,
    }
    with memory_advice(f"lower batch_size ({batch_size})"):
        if ideal:
            solution = solve(samples)
            least = floor(samples, solution)
            tokens = int((reference != tokenizer.pad_id).sum())
            metrics |= ideal_metrics(samples, solution, least, tokens, np.where(correct, generated.lengths, -1))
            metrics |= divergence_metrics(model, tokenizer, samples, least, **settings)
        if text:
            metrics |= text_metrics(model, tokenizer, rows_nT, losses_nT, generated, correct, **settings)
        if search is not None:
            metrics |= search_metrics(model, tokenizer, samples, search, **settings)
    return Evaluation(metrics, generated, correct, generalizes)


def _write(
    model: Transformer,
    tokenizer: Tokenizer,
    samples: Samples,
    capture: Capture | None,
    free: bool,
    progress: Callable[[int], None] | None,
    *,
    batch_size: int,
    dtype: torch.dtype,
    compile_model: bool,
) -> tuple[Generated, int]:
    """The programs written under the grammar; and of as many written without it, how many are well-formed and ended (0 for
    free=False)."""
    decoder = Decoder(
        model, tokenizer.grammar(), tokenizer.program_length, capture, pad_id=tokenizer.pad_id,
        end_id=tokenizer.end_id, dtype=dtype, compile=compile_model,
    )  # fmt: skip
    parts, parsed, done = [], 0, 0
    for read in decoder.read(tokenizer.encode_prompts(samples), batch_size):
        parts.append(decoder.write(read))
        if free:
            freely = decoder.write(read, constrained=False)
            parsed += int((freely.valid & freely.finished).sum())
        done += read.keep
        if progress is not None:
            progress(done)
    return join(parts), parsed


def _most_frequent(
    programs: CompiledPrograms, generated: Generated, samples: Samples, mask: np.ndarray | None
) -> dict[str, Any]:
    """How different the written programs are, the most frequent one, and the best one for all (see `evaluate`)."""
    first = generated.tokens[:DIVERSITY_SAMPLES]
    _, places, counts = np.unique(generated.tokens, axis=0, return_index=True, return_counts=True)
    by_frequency = places[np.argsort(-counts, kind="stable")]
    ended = by_frequency[generated.finished[by_frequency]]
    one, one_accuracy = one_for_all(programs, ended, samples, mask) if len(ended) else (None, None)
    return {
        "distinct_programs": len(counts),
        "diversity": len(np.unique(first, axis=0)) / len(first),
        "top_program": str(programs.program(by_frequency[0])),
        "top_share": float(counts.max() / len(samples)),
        "one_for_all": None if one is None else str(one),
        "one_for_all_accuracy": one_accuracy,
    }


def ready_model(
    snapshot: str | Path | Transformer,
    tokenizer: Tokenizer,
    device: str,
    precision: str,
    any_recipe: bool,
) -> tuple[Transformer, str, torch.dtype]:
    """The model on its device, in eval mode and checked, what to call it, and the type of its products; errors as `evaluate`."""
    model = snapshot if isinstance(snapshot, Transformer) else open_snapshot(snapshot, tokenizer, any_recipe)
    name = "the model" if isinstance(snapshot, Transformer) else str(snapshot)
    check_finite_weights(model, name)
    check_vocabulary(model, tokenizer)
    place = resolve_device(device)
    return model.to(place).eval(), name, resolve_precision(precision, place)


def check_finite_weights(model: Transformer, name: str) -> None:
    """Raise NotFiniteError, naming the model and the weight, unless all weights are finite."""
    for weight, values in model.named_parameters():
        if not torch.isfinite(values).all():
            raise NotFiniteError(f"{name}: the weights {weight} are not finite; its training has diverged")


def ideal_metrics(
    samples: Samples, solution: Solution, least: Floor, tokens: int, correct_lengths: np.ndarray
) -> dict[str, float | None]:
    """What an ideal reader of the specifications makes of them, and how far correct programs are from it.

    solution, least: `kf.exact.solve` and `floor` of these samples. tokens: of the reference programs, ends included, over which the
    loss is a mean. correct_lengths: (n,) actions of each written program, -1 where it is wrong.

    floor_loss: nats per token, what the ideal reader loses on the reference programs; no model loses less but by chance.
    floor_perplexity: its exponential. excess_length: actions of correct programs beyond the shortest of any length that
    satisfies the specification, on average (None if none is correct). ideal_generalization: the chance that a program drawn from the
    ideal reader's posterior satisfies the held-out examples too (None if there are none). solver_accuracy and solver_generalization:
    the solver as one that writes programs, where the most probable program of all satisfies the shown examples, and the held-out ones.

    Raises ValueError for recipes and sizes that `kf.exact.solve` refuses.
    """
    recipe = samples.recipe
    floor_loss = float(np.nansum(least.loss)) / tokens
    inputs, outputs = samples.shown()
    any_length = recipe.replace(lengths=(1, recipe.lengths[1]))
    shortest = solve(inputs, outputs, recipe=any_length).shortest
    right = correct_lengths >= 0
    return {
        # Programs of lengths that the recipe never draws are none that this reader expects.
        "floor_loss": floor_loss if math.isfinite(floor_loss) else None,
        "floor_perplexity": math.exp(floor_loss) if math.isfinite(floor_loss) else None,
        "excess_length": float((correct_lengths - shortest)[right].mean()) if right.any() else None,
        "ideal_generalization": float(solution.generalises.mean()) if recipe.held_out else None,
        "solver_accuracy": float((solution.counts > 0).mean()),
        "solver_generalization": float(solution.mode_generalises.mean()) if recipe.held_out else None,
    }


def check_vocabulary(model: Transformer, tokenizer: Tokenizer) -> None:
    """Raise ValueError unless the model can read and write the tokenizer's sequences."""
    if (model.config.vocab_size, model.row_code) != (tokenizer.vocab_size, tokenizer.row_code):
        raise ValueError(
            f"the model has {vocabulary_text(model.config.vocab_size, model.row_code)}, the tokenizer "
            f"{vocabulary_text(tokenizer.vocab_size, tokenizer.row_code)}: not the same vocabulary"
        )
    model.check_length(tokenizer.sequence_length)
