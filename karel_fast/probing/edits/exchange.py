"""What a model writes for one side of a pair while some of its states are another run's.

Shapes: n pairs, B of a batch, T tokens up to the one that predicts the first action written, D width, R rank, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from karel_fast.data import Tokenizer
from karel_fast.data.sampling.symbols import PAD
from karel_fast.data.tokens.grammar import Grammar
from karel_fast.model import Capture, Intervention, Transformer
from karel_fast.model.decode import Decoder, Generated, join
from karel_fast.model.scoring import hidden_states
from karel_fast.probing.edits.groups import groups_of
from karel_fast.probing.edits.pairs import Pairs, Side


@dataclass(frozen=True)
class Outcome:
    """What an edit did to each of n pairs, arrays (n,).

    obeys: the written program satisfies the other specification, and not the first. keeps: it satisfies the first. equal: it
    is the program that the model writes for the other one. odds: log-odds, nats, of the other program's first action against
    the first program's; NaN where they are the same.
    """

    obeys: np.ndarray
    keeps: np.ndarray
    equal: np.ndarray
    odds: np.ndarray


class Exchange:
    """A model and the pairs of which it solves both sides, ready for edits; not compiled, since each layer is a graph of its own.

    Where a side is not solved there is nothing to see: the model would not write the right program for a whole swap either.
    most: pairs kept, the first that are solved. solved_only: False keeps those too that are not, for an untrained model.
    solved: share of the pairs given that are. tokens, other_tokens: int64 (n, T). groups: see `groups_of`.
    actions, other_actions: what the model writes for each side, (n, L) padded with 255.

    Raises ValueError when the model solves both sides of no pair.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        pairs: Pairs,
        most: int | None = None,
        *,
        solved_only: bool = True,
        batch_size: int = 256,
    ) -> None:
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.device = model.wte.weight.device
        rows = [token_rows(tokenizer, side) for side in (pairs.base, pairs.other)]
        length = rows[0].shape[1]
        self.decoder = Decoder(
            model, grammar_after(tokenizer, rows[0][:, tokenizer.prompt_length :]), tokenizer.sequence_length - length,
            pad_id=tokenizer.pad_id, end_id=tokenizer.end_id, compile=False,
        )  # fmt: skip
        made = [self._written(tokens) for tokens in rows]
        right = [
            side.satisfied(made_.actions, made_.lengths, made_.finished)
            for side, (made_, _) in zip((pairs.base, pairs.other), made, strict=True)
        ]
        kept = np.flatnonzero(right[0] & right[1]) if solved_only else np.arange(len(pairs))
        if not len(kept):
            raise ValueError(
                f"the model solves both sides of none of the {len(pairs)} pairs ({pairs.kind}), so no edit can be told from a failure"
            )
        self.solved = len(kept) / len(pairs)
        kept = kept[:most]
        self.pairs = pairs[kept]
        self.tokens, self.other_tokens = rows[0][kept], rows[1][kept]
        self.actions, self.other_actions = made[0][0].actions[kept], made[1][0].actions[kept]
        self.logits = made[0][1][kept]
        self.other_logits = made[1][1][kept]
        self.groups = groups_of(tokenizer, self.tokens, self.other_tokens)
        self._states: dict[tuple[str, int], Tensor] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def states(self, side: str, layer: int) -> Tensor:
        """The unedited states of a side, "base" or "other", at a layer, float32 (n, T, D); kept."""
        if (side, layer) not in self._states:
            tokens = self.tokens if side == "base" else self.other_tokens
            layers = list(range(self.model.states))
            capture = Capture(layers, torch.arange(tokens.shape[1]))
            parts = hidden_states(self.model, tokens, capture, batch_size=self.batch_size, compile=False)
            whole = torch.cat(list(parts))
            for number in layers:
                self._states[side, number] = whole[:, :, number].contiguous()
        return self._states[side, layer]

    def swapped(
        self, layer: int, mask: np.ndarray, source: Tensor | None = None, basis: Tensor | None = None
    ) -> Intervention:
        """The edit that puts `source` (None: the other side's states), (n, T, D), in place of the states where the mask is,
        or their part in the basis' span. Elsewhere the states are set to what they are.
        """
        base = self.states("base", layer)
        source = self.states("other", layer) if source is None else source
        values = torch.where(torch.from_numpy(mask)[:, :, None], source, base)
        positions = torch.arange(self.tokens.shape[1])
        return Intervention.swap(values[:, :, None], basis, layers=[layer], positions=positions)

    def outcome(self, intervention: Intervention | None) -> Outcome:
        """What the model writes under the edit."""
        made, logits = self._written(self.tokens, intervention)
        keeps = self.pairs.base.satisfied(made.actions, made.lengths, made.finished)
        obeys = self.pairs.other.satisfied(made.actions, made.lengths, made.finished) & ~keeps
        width = max(made.actions.shape[1], self.other_actions.shape[1])
        equal = (_wide(made.actions, width) == _wide(self.other_actions, width)).all(1)
        return Outcome(obeys, keeps, equal, self.odds(logits))

    def odds(self, logits: np.ndarray) -> np.ndarray:
        """Log-odds (n,) of the first action that the other program demands against the one written unedited."""
        mine, theirs = self._first(self.actions), self._first(self.other_actions)
        each = np.arange(len(self))
        return np.where(mine == theirs, np.nan, logits[each, theirs] - logits[each, mine])

    def _first(self, actions: np.ndarray) -> np.ndarray:
        """The token of each program's first action, or of its end."""
        ids = np.full(256, self.tokenizer.end_id)
        ids[: len(self.tokenizer.action_ids)] = self.tokenizer.action_ids
        return ids[actions[:, 0]] if actions.shape[1] else np.full(len(actions), self.tokenizer.end_id)

    def _written(self, tokens: np.ndarray, intervention: Intervention | None = None) -> tuple[Generated, np.ndarray]:
        """What is written after the rows, and the logits (n, V) of its first token."""
        made, logits = [], []
        for read in self.decoder.read(tokens, self.batch_size, intervention):
            made.append(self.decoder.write(read))
            logits.append(read.logits_BV[: read.keep].float().cpu().numpy())
        return join(made), np.concatenate(logits)


def token_rows(tokenizer: Tokenizer, side: Side) -> np.ndarray:
    """int64 (n, T): each specification and its given actions, up to the token that predicts the next one."""
    n, k = side.given.shape
    # One action more shows what stands between actions, if anything does.
    actions = np.concatenate([side.given, np.zeros((n, 1), np.uint8)], axis=1)
    samples = replace(side.samples, symbols=actions, lengths=np.full(n, k + 1, np.int32))
    last = int(tokenizer.action_positions(samples)[0, k])
    return tokenizer.encode(samples)[:, : last + 1].astype(np.int64)


def grammar_after(tokenizer: Tokenizer, begun: np.ndarray) -> Grammar:
    """The grammar from where a program's first tokens, integers (n, tokens), have led it.

    Raises ValueError unless they lead everywhere alike, as in a recipe without control flow.
    """
    grammar = tokenizer.grammar()
    state = np.full(len(begun), grammar.start_state)
    for token in begun.T:
        state = grammar.next_state[state, token]
    if len(set(state.tolist())) > 1:
        raise ValueError(
            "the given beginnings lead to different places of the grammar: give equally many actions of each"
        )
    return replace(grammar, start_state=int(state[0]))


def _wide(actions: np.ndarray, width: int) -> np.ndarray:
    return np.pad(actions, ((0, 0), (0, width - actions.shape[1])), constant_values=PAD)
