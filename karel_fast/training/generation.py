"""Programs that a model writes: greedily, drawn at random, or found by beam search; under the grammar or free.

Shapes: n specifications, K programs of each, S tokens, L actions of the longest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from karel_fast.data import Samples, Tokenizer
from karel_fast.data.sampling.symbols import PAD, from_symbols
from karel_fast.karel.language import Program
from karel_fast.model import Transformer
from karel_fast.model.beam import beam_search
from karel_fast.model.decode import Generated
from karel_fast.model.sampling import Sampling
from karel_fast.support.checks import InputError, whole
from karel_fast.training.search import drawn_programs, pass_at_k
from karel_fast.training.written import generated_programs, satisfied

AXES = ("specification", "program")
"""What the first two axes of every array are."""


@dataclass(frozen=True, eq=False)
class Written:
    """K programs for each of n specifications.

    tokens: int64 (n, K, S) after the prompt, padded. actions: uint8 (n, K, L) codes padded with 255, and lengths: int32 (n, K),
    of what was written; with control flow, see `programs`. finished: bool (n, K), whether the end came in time. valid: bool (n, K),
    whether it obeys the grammar. correct: bool (n, K), whether a valid program that ended satisfies every shown example;
    generalizes: and every held-out one (None if there are none). log_probability: float64 (n, K), nats, of beam search, whose
    programs stand in their order, the best first; else None.
    """

    tokenizer: Tokenizer
    tokens: np.ndarray
    actions: np.ndarray
    lengths: np.ndarray
    finished: np.ndarray
    valid: np.ndarray
    correct: np.ndarray
    generalizes: np.ndarray | None
    log_probability: np.ndarray | None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def axes(self) -> tuple[str, str]:
        """What the first two axes of every array are."""
        return AXES

    def program(self, specification: int, number: int = 0) -> Program | None:
        """One program; None if it did not end, or obeys no grammar."""
        if not (self.finished[specification, number] and self.valid[specification, number]):
            return None
        return from_symbols(self.tokenizer.symbols(self.tokens[specification, number]))

    @property
    def programs(self) -> list[list[Program | None]]:
        """All of them: a list of K for each specification."""
        n, count = self.finished.shape
        return [[self.program(i, k) for k in range(count)] for i in range(n)]

    def text(self, specification: int, number: int = 0) -> str:
        """What was written, as it was written."""
        return self.tokenizer.decode(self.tokens[specification, number])

    def pass_at_k(self, k: int = 1) -> float:
        """The chance that k of the drawn programs hold a correct one, over all specifications (Chen et al. 2021, unbiased).

        Raises InputError for programs of a beam search, which are no draws, or fewer draws than k.
        """
        if self.log_probability is not None:
            raise InputError(
                "pass@k is of programs drawn at random; these are a beam search's: use correct.any(axis=1)"
            )
        draws = self.correct.shape[1]
        return float(pass_at_k(self.correct.sum(axis=1), draws, whole("k", k, 1, draws)).mean())


def generate(
    model: Transformer,
    tokenizer: Tokenizer,
    samples: Samples,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    draws: int = 1,
    seed: int = 0,
    beam: int = 0,
    length_penalty: float = 0.0,
    grammar: bool = True,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    compile_model: bool = False,
) -> Written:
    """Let the model write programs for the shown examples of samples.

    By default the most probable token is taken, greedily. temperature, top_p: draw tokens at random instead (see
    `karel_fast.model.sampling`), `draws` programs for each specification; which ones depends on the seed, and on where a
    specification stands among its split, not on its company. beam: search for the so many most probable programs, ranked by
    log-probability / tokens ** length_penalty. grammar: only tokens that the grammar allows; without it, `Written.valid` says which
    programs obey it.

    Raises InputError or ValueError for settings that do not go together, or samples that are not the tokenizer's.
    """
    whole("draws", draws, 1)
    whole("beam", beam, 0)
    whole("batch_size", batch_size, 1)
    settings: dict[str, Any] = {"batch_size": batch_size, "dtype": dtype, "compile": compile_model}
    if not beam:
        sampling = Sampling(temperature, top_p, seed)
        if draws > 1 and temperature == 0:
            raise InputError(f"{draws} greedy programs would be one and the same: give a temperature above 0, or beam=")
        if temperature == 0 and (top_p < 1 or seed):
            raise InputError(
                "greedy programs draw nothing at random: leave out top_p and seed, or give a temperature above 0"
            )
        if length_penalty:
            raise InputError("length_penalty ranks the programs of a beam search: leave it out, or give beam=")
        drawn = sampling if temperature else None
        written = drawn_programs(model, tokenizer, samples, drawn, draws, constrained=grammar, **settings)
        return _judged(tokenizer, samples, written, None)
    if temperature or draws > 1 or top_p != 1 or seed:
        raise InputError("a beam search draws nothing at random: leave out temperature, top_p, draws and seed, or beam")
    if not grammar:
        raise InputError("a beam search goes by the grammar: leave out grammar=False, or beam")
    beams = beam_search(
        model, tokenizer.encode_prompts(samples), tokenizer.grammar(), tokenizer.program_length, beam,
        pad_id=tokenizer.pad_id, end_id=tokenizer.end_id, length_penalty=length_penalty, **settings,
    )  # fmt: skip
    # Places beyond the last program that there is hold padding, which is none.
    return _judged(tokenizer, samples, [beams.programs(rank) for rank in range(beam)], beams.log_probability)


def _judged(
    tokenizer: Tokenizer, samples: Samples, written: list[Generated], log_probability: np.ndarray | None
) -> Written:
    correct, generalizes = [], []
    for one in written:
        ended = one.finished & one.valid
        # Only what ended and obeys the grammar is a program; of the rest there is nothing to run.
        shown, held_out = satisfied(generated_programs(tokenizer, replace(one, finished=ended)), samples)
        correct.append(shown & ended)
        if held_out is not None:
            generalizes.append(shown & held_out & ended)
    longest = max(1, max(int(one.lengths.max()) for one in written))
    actions = np.full((len(samples), len(written), longest), PAD, np.uint8)
    for k, one in enumerate(written):
        width = min(longest, one.actions.shape[1])
        actions[:, k, :width] = one.actions[:, :width]

    def together(arrays: list[np.ndarray]) -> np.ndarray:
        return np.stack(arrays, axis=1)

    return Written(
        tokenizer=tokenizer,
        tokens=together([one.tokens for one in written]),
        actions=actions,
        lengths=together([one.lengths for one in written]),
        finished=together([one.finished for one in written]),
        valid=together([one.valid for one in written]),
        correct=together(correct),
        generalizes=together(generalizes) if generalizes else None,
        log_probability=log_probability,
    )
