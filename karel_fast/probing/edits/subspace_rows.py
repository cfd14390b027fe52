"""The rows of the experiment with subspaces: every method and rank at the tokens that carry what differs, and the controls.

Shapes: n pairs, T tokens, D width, R rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from karel_fast.model import Intervention, Transformer
from karel_fast.probing.edits.exchange import Exchange
from karel_fast.probing.edits.subspaces import (
    LABELS,
    Reading,
    label_probe,
    labels_of,
    means_basis,
    one_hot,
    principal_basis,
    probe_basis,
    probe_turn,
    random_basis,
)
from karel_fast.probing.probes.types import ProbeWeights

Row = tuple[dict[str, Any], Intervention]


@dataclass(frozen=True)
class Site:
    """Where a kind's subspaces are exchanged, and where its controls are: the layer and group that least of it is carried at."""

    layer: int
    group: str
    wrong_layer: int
    wrong_group: str


def choose_site(records: Sequence[dict[str, Any]], groups: dict[str, np.ndarray], carries: float) -> Site:
    """The site for subspaces out of a map's records.

    The deepest layer at which a whole swap of some group is obeyed by at least the share `carries`, and there the group of the
    fewest tokens that does; where there is none, wherever most obey after the embedding. The group "all" does not count: it is
    another prompt. Controls: the layer, the embedding aside, at which the fewest obey a swap of that group; and a group without any
    of its tokens that the fewest obey at that layer, of these the largest.
    """
    obeys = {(r["layer"], r["group"]): r["obeys"] for r in records if r["group"] not in ("all", "none")}
    sizes = {name: int(mask.sum()) for name, mask in groups.items()}
    deep = {place: share for place, share in obeys.items() if place[0] > 0} or obeys
    layer, group = max(
        (place for place, share in deep.items() if share >= carries),
        key=lambda place: (place[0], -sizes[place[1]]),
        default=max(deep, key=lambda place: (deep[place], place[0], -sizes[place[1]])),
    )
    # At the embedding, tokens that are the same in both runs have the same states: nothing would be swapped there.
    layers = [other for other, name in deep if name == group and other != layer] or [layer]
    apart = [name for at, name in obeys if at == layer and not (groups[name] & groups[group]).any()] or [group]
    return Site(
        layer,
        group,
        min(layers, key=lambda other: (obeys[other, group], abs(other - layer))),
        min(apart, key=lambda name: (obeys[layer, name], -sizes[name])),
    )


def subspace_rows(
    exchange: Exchange, train: Exchange, site: Site, frames: dict[str, Tensor], ranks: Sequence[int], seed: int
) -> Iterator[Row]:
    """What is done in each row, and the edit of `exchange`'s pairs; subspaces are found on `train`.

    frames: "learned", and "learned elsewhere", the rotation learned at the group that carries nothing.
    """
    layer, mask = site.layer, exchange.groups[site.group]
    train_mask = train.groups[site.group]
    width = exchange.model.config.n_embd
    where = {"layer": layer, "group": site.group}
    most = max(ranks)

    yield {**where, "method": "whole state", "rank": width}, exchange.swapped(layer, mask)
    principal = principal_basis(train, layer, train_mask, most)
    bases = {"rotation": frames["learned"], "principal": principal}
    for rank in ranks:
        for method, basis in bases.items():
            yield {**where, "method": method, "rank": rank}, exchange.swapped(layer, mask, basis=basis[:rank])
        random = random_basis(width, rank, seed)
        yield {**where, "method": "random", "rank": rank, "control": True}, exchange.swapped(layer, mask, basis=random)

    for label in LABELS:
        reading = Reading(train, layer, train_mask, label)
        probe = label_probe(reading, seed)
        assert probe.weights is not None
        read = {"read": probe.accuracy, "base": probe.majority}
        means, span = means_basis(reading), probe_basis(probe.weights)
        yield {**where, "method": f"means of {label}", "rank": len(means)}, exchange.swapped(layer, mask, basis=means)
        yield (
            {**where, "method": f"probe of {label}", "rank": len(span), **read},
            exchange.swapped(layer, mask, basis=span),
        )
        change = _probe_turned(exchange, layer, mask, reading, probe.weights)
        moved = exchange.swapped(layer, mask, exchange.states("base", layer) + change)
        yield {**where, "method": f"along the probe of {label}", "rank": len(span), **read}, moved

    frame = frames["learned"]
    wanted = torch.from_numpy(one_hot(labels_of(exchange, "other", "turn"))).float()
    reading = Reading(train, layer, train_mask, "turn")
    sources = {
        "typical of the turn": reading.means + (wanted @ reading.weights())[:, None],
        "stranger, same turn": strangers(exchange, mask, layer, seed, "turn", alike=True),
        "stranger, another turn": strangers(exchange, mask, layer, seed, "turn", alike=False),
        "stranger, same directions": strangers(exchange, mask, layer, seed, "direction", alike=True),
    }
    for source, states in sources.items():
        what = {**where, "source": source, "control": source == "stranger, another turn"}
        for rank in ranks:
            yield {**what, "method": "rotation", "rank": rank}, exchange.swapped(layer, mask, states, frame[:rank])
        yield {**what, "method": "whole state", "rank": width}, exchange.swapped(layer, mask, states)

    frame = frame[:most]
    control = {"method": "rotation", "rank": most, "control": True}
    base = exchange.states("base", layer)
    noise = exchange.swapped(layer, mask, base + _noise(exchange, layer, base, seed))
    yield {**where, **control, "method": "noise", "rank": width}, noise
    elsewhere = exchange.groups[site.wrong_group]
    yield (
        {"layer": site.wrong_layer, "group": site.group, **control, "method": "rotation, wrong layer"},
        exchange.swapped(site.wrong_layer, mask, basis=frame),
    )
    yield (
        {"layer": layer, "group": site.wrong_group, **control, "method": "rotation, wrong tokens"},
        exchange.swapped(layer, elsewhere, basis=frame),
    )
    yield (
        {"layer": layer, "group": site.wrong_group, **control, "method": "rotation learned at wrong tokens"},
        exchange.swapped(layer, elsewhere, basis=frames["learned elsewhere"][:most]),
    )


def untrained_rows(trained: Exchange, site: Site, untrained: Transformer) -> tuple[Exchange, Iterator[Row]]:
    """An untrained model on the same pairs, and whole swaps in it."""
    exchange = Exchange(
        untrained,
        trained.tokenizer,
        trained.pairs,
        solved_only=False,
        batch_size=trained.batch_size,
    )
    rows = (
        (
            {
                "layer": site.layer,
                "group": group,
                "method": "untrained model",
                "rank": untrained.config.n_embd,
                "control": True,
            },
            exchange.swapped(site.layer, exchange.groups[group]),
        )
        for group in (site.group, "all")
    )
    return exchange, rows


def strangers(exchange: Exchange, mask: np.ndarray, layer: int, seed: int, label: str, alike: bool) -> Tensor:
    """For each pair the other side's states of another pair, (n, T, D), its k-th edited token where this one's k-th is.

    alike: one whose label is the one that this pair's other side has; else one where no number of it is. A pair without such a
    stranger keeps its own unedited states.
    """
    wanted = labels_of(exchange, "other", label)
    same = (wanted[:, None] == wanted[None]).all(2) if alike else (wanted[:, None] != wanted[None]).all(2)
    np.fill_diagonal(same, False)
    chosen = (np.random.default_rng(seed).random(same.shape) * same).argmax(1)
    states, out = exchange.states("other", layer), exchange.states("base", layer).clone()
    for row in np.flatnonzero(same.any(1)):
        here, there = np.flatnonzero(mask[row]), np.flatnonzero(mask[chosen[row]])
        if len(here) == len(there):
            out[row, here] = states[chosen[row], there]
    return out


def _probe_turned(exchange: Exchange, layer: int, mask: np.ndarray, reading: Reading, probe: ProbeWeights) -> Tensor:
    """The change (n, T, D) along the probe's weights that makes it read the other side's label at every token of the mask."""
    rows, tokens = np.nonzero(mask)
    base = exchange.states("base", layer)
    change = torch.zeros_like(base)
    centred = base[rows, tokens] - reading.means[torch.from_numpy(tokens)]
    change[rows, tokens] = probe_turn(probe, centred, labels_of(exchange, "other", reading.label)[rows])
    return change


def _noise(exchange: Exchange, layer: int, base: Tensor, seed: int) -> Tensor:
    """Random directions, as long as the differences between the two sides' states."""
    noise = torch.randn(base.shape, generator=torch.Generator().manual_seed(seed))
    length = (exchange.states("other", layer) - base).norm(dim=2, keepdim=True)
    return noise / noise.norm(dim=2, keepdim=True) * length
