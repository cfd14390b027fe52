"""The untrained models that a run is compared with: others for every run, and none that any training began from."""

from __future__ import annotations

import torch
from tiny_model import tiny_config

from karel_fast.model.transformer import fresh_model
from karel_fast.probing.untrained import untrained_model, untrained_seed

CARDS = [{"train": {"seed": seed}} for seed in (0, 1, 2, 2**64 - 1)]


def test_every_run_has_its_own():
    seeds = {untrained_seed(card, number) for card in CARDS for number in range(3)}
    assert len(seeds) == 12
    assert not seeds & set(range(10_000))  # what people train from
    # A model from elsewhere counts as of seed 0.
    assert untrained_seed({}, 1) == untrained_seed({"train": None}, 1) == untrained_seed(CARDS[0], 1)


def test_weights_come_from_the_run_alone_and_leave_torch_as_it_was():
    model = fresh_model(tiny_config(layers=1), 0)
    before = torch.random.get_rng_state()
    first, again, other = (untrained_model(model, card, 0) for card in (CARDS[0], CARDS[0], CARDS[1]))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not first.training
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert not torch.equal(first.wte.weight, other.wte.weight)
    assert not torch.equal(first.wte.weight, model.wte.weight)
