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
from karel_fast.karel.execution import run
from karel_fast.karel.language import CompiledPrograms
from karel_fast.karel.world import Worlds
from karel_fast.model import Transformer
from karel_fast.probing.probes.training import ProbeWeights


@dataclass(frozen=True)
class Steering:
    """One layer, quarter turn and kind of edit, over `specifications` programs cut at their middle.

    read: share of (program, world) where the probe reads the turned direction after the edit. turn: mean change of the
    log-odds of the turn that undoes the edit (left for a clockwise one) against the other turn, nats, with its 95 %
    confidence interval over programs. changed: share of continuations that differ from the unedited one.
    obeys: share whose continuation, run from the turned worlds, ends as the specification wants.
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
    worlds_each = samples.recipe.examples
    inputs, outputs = (_of(w, keep, worlds_each) for w in samples.shown())
    cut = lengths // 2
    prefix = CompiledPrograms.from_actions(_masked(actions, cut), cut)
    middle = run(prefix, inputs, semantics=samples.recipe.semantics).worlds
    facing = middle.robot[:, 2].reshape(-1, worlds_each).astype(np.int64)

    prompts = tokenizer.encode_prompts(samples)[keep].astype(np.int64)
    rng = np.random.default_rng(seed)
    rows: dict[tuple[int, str], list[tuple[Any, ...]]] = {}
    for begin in range(0, len(keep), batch_size):
        some = slice(begin, begin + batch_size)
        writer = _Writer(model, tokenizer, prompts[some], actions[some], cut[some], layer)
        state_BD = writer.state()
        plain_B = None
        written: dict[tuple[int, str], tuple[np.ndarray, np.ndarray]] = {}
        for quarter in quarters:
            wanted = (facing[some] + quarter) % 4
            delta_BD = edit(probe, state_BD, wanted, strength)
            noise = torch.from_numpy(rng.normal(size=delta_BD.shape)).float() * probe.std
            noise *= delta_BD.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
            turned = _turned(_of_range(middle, some, worlds_each), quarter)
            for kind, change in (("none", torch.zeros_like(delta_BD)), ("probe", delta_BD), ("random", noise)):
                odds = writer.turn_odds(change)
                if plain_B is None:
                    plain_B = odds
                if kind == "none" and ("none" in {k for _, k in written}):
                    codes, counts = next(v for (_, k), v in written.items() if k == "none")
                else:
                    codes, counts = writer.finish(change)
                written[quarter, kind] = (codes, counts)
                plain = written[quarter, "none"]
                read = probe.predict(state_BD + change)[..., 0] == wanted
                # Turned clockwise (+1), the robot needs a left turn.
                shift = quarter * (odds - plain_B)
                changed = (codes != plain[0]).any(1) | (counts != plain[1])
                ends = run(
                    CompiledPrograms.from_actions(codes, counts), turned, semantics=samples.recipe.semantics
                ).worlds
                right = _same(ends, _of_range(outputs, some, worlds_each)).reshape(-1, worlds_each).all(1)
                rows.setdefault((quarter, kind), []).append((read.mean(1), shift, np.asarray(changed), right))
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
    """Greedy decoding of a batch of program beginnings of different lengths, with one position's state edited.

    Without a cache: a program is a dozen tokens, and the edit must be seen by every later position.
    """

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, prompts: np.ndarray, actions: np.ndarray, cut: np.ndarray,
        layer: int,
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.layer = model, tokenizer, layer
        self.device = model.wte.weight.device
        self.cut = cut
        self.grammar = tokenizer.grammar()
        rows, start = len(prompts), tokenizer.prompt_length
        room = tokenizer.sequence_length - start
        self.tokens = np.full((rows, tokenizer.sequence_length), tokenizer.pad_id, np.int64)
        self.tokens[:, :start] = prompts
        self.written = np.zeros(rows, np.int64)
        self.grammar_state = np.full(rows, self.grammar.start_state)
        ids = np.asarray(tokenizer.action_ids)
        # The beginning is written token by token, as the grammar spells an action: the only allowed token, or the
        # action.
        for row in range(rows):
            for k in range(cut[row]):
                while True:
                    token = self._spell(row, ids[actions[row, k]])
                    self._put(row, token)
                    if token == ids[actions[row, k]]:
                        break
            while self._forced(row) and self.written[row] < room:
                self._put(row, self._only(row))
        self.position = torch.from_numpy(start + self.written - 1).to(self.device)

    def _allowed(self, row: int) -> np.ndarray:
        return np.flatnonzero(self.grammar.allowed[self.grammar_state[row]])

    def _forced(self, row: int) -> bool:
        return len(self._allowed(row)) == 1

    def _only(self, row: int) -> int:
        return int(self._allowed(row)[0])

    def _spell(self, row: int, wanted: int) -> int:
        allowed = self._allowed(row)
        if wanted in allowed:
            return int(wanted)
        quiet = allowed[(self.grammar.action_of_token[allowed] < 0) & (allowed != self.tokenizer.end_id)]
        return int(quiet[0])

    def _put(self, row: int, token: int) -> None:
        self.tokens[row, self.tokenizer.prompt_length + self.written[row]] = token
        self.grammar_state[row] = self.grammar.next_state[self.grammar_state[row], token]
        self.written[row] += 1

    def _logits(self, tokens: np.ndarray, change_BD: Tensor | None, at: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, V) at each row's position `at`, and the edited layer's state (B, D) before the edit."""
        model = self.model
        tokens_BT = torch.from_numpy(tokens[:, : int(at.max()) + 1]).to(self.device)
        rows = torch.arange(len(tokens), device=self.device)
        sin_TR, cos_TR = model.sin[: tokens_BT.shape[1]], model.cos[: tokens_BT.shape[1]]
        x_BTD = model.wte(tokens_BT)
        state_BD = x_BTD[:, 0]
        for index, block in enumerate(model.h):
            if index == self.layer:
                state_BD = x_BTD[rows, self.position]
                if change_BD is not None:
                    x_BTD = x_BTD.clone()
                    x_BTD[rows, self.position] += change_BD.to(self.device)
            x_BTD = block(x_BTD, sin_TR, cos_TR)
        return model.lm_head(model.ln_f(x_BTD[rows, at])).float(), state_BD.float()

    def state(self) -> Tensor:
        """The unedited states (B, D)."""
        return self._logits(self.tokens, None, self.position)[1].cpu()

    def turn_odds(self, change_BD: Tensor) -> np.ndarray:
        """Log-odds of a left turn against a right turn as the next action, (B,)."""
        logits, _ = self._logits(self.tokens, change_BD, self.position)
        left, right = self.tokenizer.action_ids[1], self.tokenizer.action_ids[2]
        return (logits[:, left] - logits[:, right]).cpu().numpy()

    def finish(self, change_BD: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The continuation's actions (B, L) padded with 255 and their counts (B,)."""
        tokens, written, state = self.tokens.copy(), self.written.copy(), self.grammar_state.copy()
        start, room = self.tokenizer.prompt_length, self.tokenizer.sequence_length - self.tokenizer.prompt_length
        ended = np.zeros(len(tokens), bool)
        codes: list[list[int]] = [[] for _ in tokens]
        while not (ended | (written >= room)).all():
            at = torch.from_numpy(start + written - 1).to(self.device)
            logits, _ = self._logits(tokens, change_BD, at)
            logits[~torch.from_numpy(self.grammar.allowed[state]).to(self.device)] = -torch.inf
            best = logits.argmax(-1).cpu().numpy()
            for row in np.flatnonzero(~ended & (written < room)):
                token = int(best[row])
                tokens[row, start + written[row]] = token
                written[row] += 1
                state[row] = self.grammar.next_state[state[row], token]
                ended[row] = token == self.tokenizer.end_id
                code = int(self.grammar.action_of_token[token])
                if code >= 0:
                    codes[row].append(code)
        counts = np.array([len(c) for c in codes], np.int32)
        out = np.full((len(codes), self.tokenizer.sequence_length), 255, np.uint8)
        for line, program in zip(out, codes, strict=True):
            line[: len(program)] = program
        return out, counts


def _masked(actions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.where(np.arange(actions.shape[1]) < lengths[:, None], actions, 255).astype(np.uint8)


def _of(worlds: Worlds, samples: np.ndarray, each: int) -> Worlds:
    return worlds[(samples[:, None] * each + np.arange(each)).ravel()]


def _of_range(worlds: Worlds, some: slice, each: int) -> Worlds:
    return worlds[some.start * each : some.stop * each]


def _turned(worlds: Worlds, quarter: int) -> Worlds:
    robot = worlds.robot.copy()
    robot[:, 2] = (robot[:, 2].astype(int) + quarter) % 4
    return Worlds(walls=worlds.walls, markers=worlds.markers, robot=robot)


def _same(one: Worlds, other: Worlds) -> np.ndarray:
    return (one.robot == other.robot).all(1) & (one.markers == other.markers).reshape(len(one.robot), -1).all(1)
