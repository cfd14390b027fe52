"""The floor of the loss: how well the tokens of programs can be predicted at best from their specifications.

A program of L actions is L + 1 tokens here: its actions and its end. In both layouts the other tokens of a program (`(`, `)`,
`;`) follow from these, and no reader needs to be wrong about them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karel_fast.data.sampling.samples import Samples
from karel_fast.exact.graph import END
from karel_fast.exact.problem import from_samples, same_specifications
from karel_fast.exact.solution import Solution, solve


@dataclass(frozen=True, slots=True, eq=False)
class Floor:
    """The ideal reader's view of one program per specification; arrays are NaN past a program's end.

    posteriors: float64 (n, L+1, 6), over the next action, in code order, and the end; token t is the one after t actions.
    loss: float64 (n, L+1), nats, -log of the posterior's chance of the token that stands there: infinite where the program is
        none that the specification allows.
    entropy: float64 (n, L+1), nats, of the posterior there: what `loss` is on average over the programs that one cannot tell apart.
    lengths: int32 (n,), the programs' actions.
    """

    posteriors: NDArray[np.float64]
    loss: NDArray[np.float64]
    entropy: NDArray[np.float64]
    lengths: NDArray[np.int32]

    @property
    def mean_loss(self) -> float:
        """Nats per token: the least that any model can reach on these programs, up to chance, which is less the more there are."""
        return float(np.nanmean(self.loss))

    @property
    def perplexity(self) -> float:
        """exp(mean_loss)."""
        return float(np.exp(self.mean_loss))

    def by_position(self) -> NDArray[np.float64]:
        """float64 (L+1,), mean loss of token t over the programs that have one; NaN where none has."""
        return _means(self.loss)

    def by_length(self) -> dict[int, NDArray[np.float64]]:
        """For each length of a program, float64 (length+1,), the mean loss by position."""
        return {
            int(length): _means(self.loss[self.lengths == length, : length + 1]) for length in np.unique(self.lengths)
        }

    def divergence(self, log_probabilities: ArrayLike) -> NDArray[np.float64]:
        """float64 (n, L+1), KL(ideal || model) in nats at each token.

        log_probabilities: float (n, L+1, 6), natural logarithms of what a model gives each action, in code order, and the end, after
        the same prefixes; what it gives to any other token is missing from them and counts against it. Not looked at past a
        program's end. Raises ValueError for another shape.
        """
        theirs = np.asarray(log_probabilities)
        if theirs.shape != self.posteriors.shape:
            raise ValueError(f"log_probabilities has shape {theirs.shape}; these programs need {self.posteriors.shape}")
        ours = self.posteriors
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(ours > 0, ours * (np.log(ours) - theirs), 0.0)
        return np.where(np.isnan(self.loss), np.nan, terms.sum(axis=2))


def floor(samples: Samples, solution: Solution | None = None, *, threads: int | None = None) -> Floor:
    """The floor on the samples' own programs.

    solution: of the same samples, if there is one already; else they are solved here. Raises ValueError and TypeError as `solve`, and
    ValueError for the solution of others.
    """
    if solution is None:
        solution = solve(samples, threads=threads)
    elif not same_specifications(solution.problem, from_samples(samples)):
        raise ValueError("the solution is of other samples than these; solve these, or leave solution out")
    posteriors, _ = solution.along(samples.actions, samples.lengths)
    tokens = np.full(posteriors.shape[:2], END)
    for t in range(samples.actions.shape[1]):
        tokens[:, t] = np.where(t < samples.lengths, samples.actions[:, t], END)
    there = np.take_along_axis(posteriors, tokens[:, :, None], axis=2)[:, :, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = -np.log(there)
        entropy = -np.where(posteriors > 0, posteriors * np.log(posteriors), posteriors * 0).sum(axis=2)
    return Floor(posteriors, np.abs(loss), np.abs(entropy), samples.lengths)


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of the columns, NaN left out."""
    counts = (~np.isnan(values)).sum(axis=0)
    totals = np.nansum(values, axis=0)
    return np.divide(totals, counts, out=np.full(len(counts), np.nan), where=counts > 0)
