"""A small untrained model, counterfactual pairs and their exchange, that the tests of edits share."""

from __future__ import annotations

from functools import cache

from probed_model import make_model

from karel_fast.data import Recipe, Tokenizer
from karel_fast.model import Transformer
from karel_fast.probing.edits.exchange import Exchange
from karel_fast.probing.edits.pairs import counterfactual_pairs

RECIPE = Recipe(height=5, width=5, examples=2, held_out=1, lengths=(4, 5), wall_probability=0.1)
GIVEN = 3


def small_model(tokenizer: Tokenizer) -> Transformer:
    """Nothing makes its programs end early."""
    return make_model(tokenizer, end_bias=None)


def pairs_of(kind: str, count: int = 24):
    return counterfactual_pairs(RECIPE, kind, "val", 0, count, given=GIVEN)


@cache
def turned_exchange() -> Exchange:
    """Of pairs whose robots face elsewhere. Made once: no test changes it."""
    tokenizer = Tokenizer(RECIPE)
    return Exchange(small_model(tokenizer), tokenizer, pairs_of("turned"), solved_only=False)
