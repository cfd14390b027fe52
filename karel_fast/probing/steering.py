"""A causal test: turn the robot in the model's mind and see whether it writes what the turned robot needs.

A linear probe reads the robot's direction, before action k, from the hidden state that predicts action k. Moving that
state along the probe's weights, just far enough that the probe reads every world's direction turned by a quarter,
edits the belief. If the model uses what the probe reads, it writes on as if the robot stood turned: it wants the
opposite turn first, and its continuation, run from the turned worlds, satisfies the specification more often than
what it wrote before. A random edit of the same length is the control.

Shapes: B specifications, E worlds, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from karel_fast.data import Samples, Tokenizer
from karel_fast.karel.execution import check, run
from karel_fast.karel.language import CompiledPrograms
from karel_fast.karel.world import Worlds
from karel_fast.model import Capture, Intervention, Transformer
from karel_fast.model.decode import Decoder
from karel_fast.probing.probes.training import ProbeWeights


@dataclass(frozen=True)
class Steering:
    """One layer, quarter turn and kind of edit, over `specifications` programs cut at their middle.

    read: share of (program, world) where the probe reads the turned direction after the edit. turn: mean change of the
    log-odds of the turn that undoes the edit (left for a clockwise one) against the other turn, nats, with its 95 %
    confidence interval over programs. changed: share of continuations that differ from the unedited one.
    obeys: share whose continuation ended and, run from the turned worlds, does what the specification wants (`kf.check`).
    """

    layer: int
    quarter: int
    edit: str
    specifications: int
    read: float
    turn: float
    turn_low: float | None
    turn_high: float | None
    changed: float
    obeys: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def steer(
    model: Transformer,
    tokenizer: Tokenizer,
    samples: Samples,
    actions: np.ndarray,
    lengths: np.ndarray,
    probe: ProbeWeights,
    layer: int,
    *,
    quarters: Sequence[int] = (1, -1),
    strength: float = 1.0,
    seed: int = 0,
    batch_size: int = 128,
) -> list[Steering]:
    """Edit state `layer` (0 the embedding, i after block i) where the middle action of each program is predicted.

    samples: the specifications, with their programs `actions` (B, L) and `lengths`, best such as the model writes
    itself and as are right. probe: linear, of the direction before the action (offset -1), read at that layer.
    Raises ValueError for a probe that is not linear or not of directions, a layer past the last block's input, or no
    program of two actions.
    """
    if len(probe.layers) != 1 or probe.classes != 4 or probe.heads != 1:
        raise ValueError("steering needs a linear probe of the direction: its weights are the edit")
    if not 0 <= layer < len(model.h):
        raise ValueError(f"layer {layer} cannot be edited: states 0..{len(model.h) - 1} go through a block afterwards")
    keep = np.flatnonzero(lengths >= 2)
    if len(keep) == 0:
        raise ValueError("no program has two actions, so none has a middle to edit at")
    actions, lengths = actions[keep], lengths[keep]
    worlds_each, semantics = samples.recipe.examples, samples.recipe.semantics
    inputs, outputs = (_of(w, keep, worlds_each) for w in samples.shown())
    cut = lengths // 2
    prefix = CompiledPrograms.from_actions(_masked(actions, cut), cut)
    middle = run(prefix, inputs, semantics=semantics).worlds
    facing = middle.robot[:, 2].reshape(-1, worlds_each).astype(np.int64)

    all_each = len(samples.inputs) // len(samples)
    programs = Samples(
        samples.recipe, samples.split, samples.start, actions, lengths,
        _of(samples.inputs, keep, all_each), _of(samples.outputs, keep, all_each),
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    rows: dict[tuple[int, str], list[tuple[Any, ...]]] = {}
    for begin in range(0, len(keep), batch_size):
        batch = slice(begin, begin + batch_size)
        writer = _Writer(model, tokenizer, programs[batch], cut[batch], layer)
        state_BD = writer.state()
        plain_odds_B = writer.turn_odds(None)
        plain_actions, plain_counts, _ = plain = writer.write_on(None)
        for quarter in quarters:
            wanted = (facing[batch] + quarter) % 4
            delta_BD = edit(probe, state_BD, wanted, strength)
            noise = torch.from_numpy(rng.normal(size=delta_BD.shape)).float() * probe.std
            noise *= delta_BD.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
            turned = _turned(_of_range(middle, batch, worlds_each), quarter)
            for kind, change_BD in (("none", None), ("probe", delta_BD), ("random", noise)):
                read = probe.predict(state_BD if change_BD is None else state_BD + change_BD)[..., 0] == wanted
                # Turned clockwise (+1), the robot needs a left turn.
                shift = quarter * ((plain_odds_B if change_BD is None else writer.turn_odds(change_BD)) - plain_odds_B)
                codes, counts, finished = plain if change_BD is None else writer.write_on(change_BD)
                changed = (codes != plain_actions).any(1) | (counts != plain_counts)
                right = check(
                    CompiledPrograms.from_actions(codes, counts),
                    turned,
                    _of_range(outputs, batch, worlds_each),
                    semantics=semantics,
                )
                obeys = right.reshape(-1, worlds_each).all(1) & finished
                rows.setdefault((quarter, kind), []).append((read.mean(1), shift, changed, obeys))
    out = []
    for (quarter, kind), parts in rows.items():
        read, shift, changed, right = (np.concatenate(column).astype(float) for column in zip(*parts, strict=True))
        low = high = None
        if len(shift) > 1 and shift.std() > 0:
            half = float(stats.t.ppf(0.975, len(shift) - 1) * shift.std(ddof=1) / np.sqrt(len(shift)))
            low, high = float(shift.mean() - half), float(shift.mean() + half)
        out.append(
            Steering(
                layer,
                quarter,
                kind,
                len(shift),
                float(read.mean()),
                float(shift.mean()),
                low,
                high,
                float(changed.mean()),
                float(right.mean()),
            )
        )
    return out


def edit(probe: ProbeWeights, states_BD: Tensor, wanted_BE: np.ndarray, strength: float = 1.0) -> Tensor:
    """The smallest change of the states (in standardised units) that swaps, in every world, the probe's scores of its
    present answer and of the wanted class, and leaves its other scores alone; times `strength`.
    """
    matrix_DO, _ = probe.layers[0]
    scores_BEC = probe.logits(states_BD)[:, :, 0]
    wanted_BE1 = torch.as_tensor(wanted_BE)[..., None]
    present_BE1 = scores_BEC.argmax(-1, keepdim=True)
    target_BEC = scores_BEC.clone()
    target_BEC.scatter_(2, present_BE1, scores_BEC.gather(2, wanted_BE1))
    target_BEC.scatter_(2, wanted_BE1, scores_BEC.gather(2, present_BE1))
    change_BO = (target_BEC - scores_BEC).flatten(1)
    return strength * (change_BO @ torch.linalg.pinv(matrix_DO)) * probe.std


class _Writer:
    """Greedy decoding of a batch of programs from their middles on, with the state that predicts action `cut` edited."""

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, programs: Samples, cut: np.ndarray, layer: int
    ) -> None:
        self.model, self.tokenizer, self.layer, self.cut = model, tokenizer, layer, cut
        self.device = model.wte.weight.device
        start = tokenizer.prompt_length
        tokens = tokenizer.encode(programs).astype(np.int64)
        position = tokenizer.action_positions(programs)[np.arange(len(cut)), cut]
        self.prompts = tokens[:, :start]
        written = np.arange(start, tokens.shape[1]) <= position[:, None]
        self.beginnings = np.where(written, tokens[:, start:], -1)
        self.tokens_BT = torch.from_numpy(tokens).to(self.device)
        self.position_B1 = torch.from_numpy(position.astype(np.int64))[:, None].to(self.device)
        steps = tokenizer.sequence_length - start
        self.decoder = Decoder(
            model, tokenizer.grammar(), steps, pad_id=tokenizer.pad_id, end_id=tokenizer.end_id, compile=False
        )

    def intervention(self, change_BD: Tensor | None) -> Intervention | None:
        """The change added to the state, in every row at its own place."""
        if change_BD is None:
            return None
        vector = change_BD[:, None, None].to(self.device)
        return Intervention.add(vector, layers=[self.layer], positions=self.position_B1)

    def state(self) -> Tensor:
        """The unedited states (B, D)."""
        capture = Capture([self.layer], self.position_B1)
        return self.model(self.tokens_BT, capture)[1][:, 0, 0].cpu()

    def turn_odds(self, change_BD: Tensor | None) -> np.ndarray:
        """Log-odds of a left turn against a right turn as the next action, (B,)."""
        capture = Capture([len(self.model.h)], self.position_B1)
        _, last = self.model(self.tokens_BT, capture, intervention=self.intervention(change_BD))
        logits_BV = self.model.lm_head(last[:, 0, 0])
        left, right = self.tokenizer.action_ids[1], self.tokenizer.action_ids[2]
        odds: np.ndarray = (logits_BV[:, left] - logits_BV[:, right]).cpu().numpy()
        return odds

    def write_on(self, change_BD: Tensor | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The continuations' actions (B, L) padded with 255, their counts (B,), and which of them ended (B,)."""
        rows = len(self.prompts)
        (read,) = self.decoder.read(self.prompts, rows, self.intervention(change_BD), self.beginnings)
        made = self.decoder.write(read)
        counts = (made.lengths - self.cut).astype(np.int32)
        number = np.minimum(np.arange(made.actions.shape[1]) + self.cut[:, None], made.actions.shape[1] - 1)
        return _masked(np.take_along_axis(made.actions, number, axis=1), counts), counts, made.finished


def _masked(actions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.where(np.arange(actions.shape[1]) < lengths[:, None], actions, 255).astype(np.uint8)


def _of(worlds: Worlds, samples: np.ndarray, each: int) -> Worlds:
    return worlds[(samples[:, None] * each + np.arange(each)).ravel()]


def _of_range(worlds: Worlds, specifications: slice, each: int) -> Worlds:
    return worlds[specifications.start * each : specifications.stop * each]


def _turned(worlds: Worlds, quarter: int) -> Worlds:
    robot = worlds.robot.copy()
    robot[:, 2] = (robot[:, 2].astype(int) + quarter) % 4
    return Worlds(walls=worlds.walls, markers=worlds.markers, robot=robot)
