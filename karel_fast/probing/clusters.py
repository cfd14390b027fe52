"""Sums per test program, kept beside a snapshot's records: what intervals clustered by program are made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from karel_fast.probing.differences import Clusters
from karel_fast.probing.measures import SUMS, stored_kinds
from karel_fast.probing.places import Places, place_arrays, read_sums
from karel_fast.support.checksums import check_named
from karel_fast.support.files import read_json_if_whole, write_whole

if TYPE_CHECKING:
    from karel_fast.probing.probes.types import ProbeResult  # which loads torch, and a report needs none


def cluster_sums(results: Sequence[ProbeResult], actions: np.ndarray) -> Clusters:
    """The results' tallies summed over the rows of each program; actions: (test rows, L), the program of every row.

    A result without a tally has sums of zero, and so no measure.
    """
    programs, of_row = np.unique(actions, axis=0, return_inverse=True)
    of_row = of_row.reshape(-1)
    sums = {name: np.zeros((len(results), len(programs)), np.float64) for name in SUMS}
    for index, result in enumerate(results):
        if result.tally is not None:
            for name in SUMS:
                sums[name][index] = np.bincount(of_row, getattr(result.tally, name), len(programs))
    return Clusters(programs, sums)


def write_clusters(path: Path, clusters: Clusters, places: Places | None = None, exact: bool = False) -> None:
    """Write `actions` and every sum, bits as float32 (unless exact) and counts as whole numbers; and the sums by place."""
    kinds = stored_kinds(exact)
    arrays: dict[str, Any] = {name: clusters.sums[name].astype(kinds[name]) for name in SUMS}
    if places is not None:
        arrays |= place_arrays(places, exact)

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, actions=clusters.actions, **arrays)

    write_whole(path, write)


def read_clusters(path: Path) -> Clusters:
    """What `write_clusters` wrote. ValueError, naming the file, if it is damaged."""
    check_named(path.parent, read_json_if_whole(path.with_suffix(".json")) or {}, [path.name])
    with np.load(path, allow_pickle=False) as arrays:
        actions = arrays["actions"]
        if actions.ndim != 2:
            raise ValueError(f"{path}: actions have {actions.ndim} dimensions, not 2")
        return Clusters(actions, read_sums(arrays, len(actions)))
