"""Trained probes on disk: the weights of every probe of a grid in one safetensors file, with the records of their results.

step-000100.safetensors   PROBE.LAYER.matrix (I, O), PROBE.LAYER.bias (O,), PROBE.mean (D,), PROBE.std (D,)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from karel_fast.model.tensors import read_tensors, write_tensors
from karel_fast.probing.probes.types import ProbeWeights


@dataclass(frozen=True)
class SavedProbe:
    """A trained probe and what is known of it.

    record: as the results' file has it: "feature", "offset", "semantics", "layer", "depth", "seed", "accuracy", "majority", ..
    """

    record: Mapping[str, Any]
    weights: ProbeWeights

    def logits(self, states: np.ndarray | Tensor) -> Tensor:
        """(R, D) hidden states -> (R, worlds, heads, classes) scores."""
        return self.weights.logits(states)

    def predict(self, states: np.ndarray | Tensor) -> np.ndarray:
        """(R, D) hidden states of `record["layer"]` -> (R, worlds, heads) classes, as the feature numbers them."""
        return self.weights.predict(states)


def write_probes(path: Path, records: Sequence[Mapping[str, Any]], weights: Sequence[ProbeWeights | None]) -> None:
    """Write the probes that have weights; the others could not be trained, which their records say."""
    trained = [(dict(record), kept) for record, kept in zip(records, weights, strict=True) if kept is not None]
    tensors: dict[str, Tensor] = {}
    about = []
    for number, (record, kept) in enumerate(trained):
        for layer, (matrix, bias) in enumerate(kept.layers):
            tensors[f"{number}.{layer}.matrix"], tensors[f"{number}.{layer}.bias"] = (
                matrix.contiguous(),
                bias.contiguous(),
            )
        # A copy: the probes of one layer share theirs, and a file holds nothing twice.
        tensors[f"{number}.mean"], tensors[f"{number}.std"] = kept.mean.cpu().clone(), kept.std.cpu().clone()
        shape = {"layers": len(kept.layers), "worlds": kept.worlds, "heads": kept.heads, "classes": kept.classes}
        about.append({"record": record, **shape})
    write_tensors(path, tensors, {"probes": json.dumps(about)}, seal=True)


def load_probes(path: str | Path) -> list[SavedProbe]:
    """The probes that `karel-fast probe --save-probes` wrote, in the order of their records.

    path: the results' JSON file, or the safetensors file beside it. FileNotFoundError if there is none; ValueError, naming the file,
    for one that is damaged or holds no probes.
    """
    path = Path(path).with_suffix(".safetensors")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; karel-fast probe --save-probes writes it beside the results")
    stored = read_tensors(path)
    try:
        return [
            SavedProbe(
                about["record"],
                ProbeWeights(
                    tuple(
                        (stored.by_name[f"{number}.{layer}.matrix"], stored.by_name[f"{number}.{layer}.bias"])
                        for layer in range(about["layers"])
                    ),
                    stored.by_name[f"{number}.mean"],
                    stored.by_name[f"{number}.std"],
                    about["worlds"],
                    about["heads"],
                    about["classes"],
                ),
            )
            for number, about in enumerate(json.loads(stored.metadata["probes"]))
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: holds no probes ({error}); give the file that probe --save-probes wrote") from error
