"""The experiment with `erasure`: specifications satisfied when a label can no longer be read from the prompt's states.

The label is where the robots of the inputs face (`direction`), or how far they have to turn in all (`turn`): see `subspaces`. The
control erases as many dimensions as the direction takes, at random.

Every token of the prompt is erased, at one layer or at all of them in turn: each layer's eraser is fit on the states that the
erased layers before it give. Erased states of a prompt depend on the prompt alone, so they are computed first and set as such.
What the model writes is not edited; it can read no more of the prompt than that.

Shapes: n specifications, T tokens of the prompt, L erased layers, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from karel_fast.data import Samples, Tokenizer
from karel_fast.model import Capture, Intervention, Transformer
from karel_fast.model.decode import write_programs
from karel_fast.model.scoring import hidden_states
from karel_fast.probing.edits.erasure import fit_eraser, readable
from karel_fast.probing.edits.scores import interval
from karel_fast.probing.edits.subspaces import QUARTERS, one_hot
from karel_fast.probing.measures import finite
from karel_fast.training.written import generated_programs, satisfied

METHODS = ("direction", "turn", "random")


@dataclass(frozen=True)
class _Split:
    """labels: float32 (n, Z) by name, one-hot."""

    samples: Samples
    prompts: np.ndarray
    labels: dict[str, Tensor]

    @classmethod
    def of(cls, tokenizer: Tokenizer, samples: Samples) -> _Split:
        now, wanted = (w.robot[:, 2].reshape(len(samples), -1).astype(np.int64) for w in samples.shown())
        numbers = {"direction": now, "turn": (wanted - now)[:, :1] % QUARTERS}
        labels = {name: torch.from_numpy(one_hot(values)).float() for name, values in numbers.items()}
        return cls(samples, tokenizer.encode_prompts(samples), labels)


class Erasing:
    """A model and the specifications to erase and to write for."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, train: Samples, test: Samples, *, seed: int) -> None:
        self.model, self.tokenizer, self.seed = model, tokenizer, seed
        self.train, self.test = _Split.of(tokenizer, train), _Split.of(tokenizer, test)
        self._plain: dict[str, Tensor] = {}

    def records(self, layers: Sequence[int], progress: Callable[[], None] | None = None) -> list[dict[str, Any]]:
        """Nothing erased; then each layer, and all of them, by each of METHODS. `progress` is called after each record.

        satisfied: share of specifications whose program is right. read: the share of labels that a linear reading of the last
        erased layer finds after erasure, at the token where it finds most; base: of always giving the most frequent ones.
        variance: share of the states' variance that is removed.
        """
        found = [self._record("nothing", (), {}, {}, 0.0)]
        for chosen in [*([layer] for layer in layers), list(layers)]:
            for method in METHODS:
                found.append(self._erased(method, chosen))
                if progress:
                    progress()
        return found

    def _erased(self, method: str, layers: Sequence[int]) -> dict[str, Any]:
        random = torch.Generator().manual_seed(self.seed) if method == "random" else None
        labels = self.train.labels["direction" if method == "random" else method]
        train: dict[int, Tensor] = {}
        test: dict[int, Tensor] = {}
        variance, total = 0.0, 0.0
        for layer in layers:
            before = {"train": self._states("train", layer, train), "test": self._states("test", layer, test)}
            eraser = fit_eraser(before["train"], labels, random)
            train[layer], test[layer] = eraser(before["train"]), eraser(before["test"])
            variance += float((before["train"].var(0) - train[layer].var(0)).sum())
            total += float(before["train"].var(0).sum())
        return self._record(method, layers, train, test, variance / total)

    def _record(
        self, method: str, layers: Sequence[int], train: dict[int, Tensor], test: dict[int, Tensor], variance: float
    ) -> dict[str, Any]:
        samples, tokenizer = self.test.samples, self.tokenizer
        generated = write_programs(
            self.model, self.test.prompts, tokenizer.grammar(), tokenizer.program_length,
            pad_id=tokenizer.pad_id, end_id=tokenizer.end_id, intervention=_set(test), compile=False,
        )  # fmt: skip
        right = satisfied(generated_programs(tokenizer, generated), samples)[0] & generated.finished
        clusters = np.unique(samples.actions, axis=0, return_inverse=True)[1].reshape(-1)
        mean, low, high = map(finite, interval(right, clusters, shares=True))
        read = base = None
        if layers:
            last, label = layers[-1], "direction" if method == "random" else method
            known, asked = self.train.labels[label], self.test.labels[label]
            read = float(readable(train[last], known, test[last], asked, QUARTERS).max())
            guess = known.unflatten(1, (-1, QUARTERS)).sum(0).argmax(1)
            base = float((asked.unflatten(1, (-1, QUARTERS)).argmax(2) == guess).double().mean())
        return {
            "experiment": "erasure", "kind": "turned", "method": method, "layer": layers[0] if len(layers) == 1 else None,
            "layers": list(layers), "group": "all", "pairs": len(samples), "satisfied": mean, "satisfied_low": low,
            "satisfied_high": high, "read": read, "base": base, "variance": variance,
        }  # fmt: skip

    def _states(self, split: str, layer: int, erased: dict[int, Tensor]) -> Tensor:
        """The states (n, T, D) that the erased layers before give; all that nothing is erased of are computed once."""
        if erased:
            return self._captured(split, [layer], erased)[:, :, 0]
        if split not in self._plain:
            self._plain[split] = self._captured(split, list(range(self.model.states)), {})
        return self._plain[split][:, :, layer]

    def _captured(self, split: str, layers: list[int], erased: dict[int, Tensor]) -> Tensor:
        prompts = (self.train if split == "train" else self.test).prompts
        capture = Capture(layers, torch.arange(prompts.shape[1]))
        return torch.cat(list(hidden_states(self.model, prompts, capture, intervention=_set(erased), compile=False)))


def _set(values: dict[int, Tensor]) -> Intervention | None:
    """The states of these layers as they are given, at every token of the prompt."""
    if not values:
        return None
    stacked = torch.stack([*values.values()], dim=2)
    return Intervention.swap(stacked, layers=list(values), positions=torch.arange(stacked.shape[1]))
