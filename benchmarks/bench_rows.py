"""The same samples in the layouts `row-pairs`, `rows` and `compact`: what a token for one or two rows of a world saves.

The models have the shape that preset `paper` trains, in row-pairs; only the layout differs, and with it the table of tokens. The peer is
CodeGenForCausalLM on the compact layout, as it would be used. Units are samples, since tokens of the three are not alike.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from conftest import OURS, Compare, Contender, Figure
from model_setup import MODEL_SIZES, Size, Workbench
from torch_measures import Steady

from karel_fast.data import generate
from karel_fast.experiment.preset import load_preset
from karel_fast.model.device import peak_flops
from karel_fast.support.memory import freed_memory_kept
from karel_fast.training.written import generated_programs, satisfied

PAPER = load_preset("paper")
SHAPE = PAPER.model.layers, PAPER.model.width, PAPER.model.heads
SIZES = {**MODEL_SIZES, "small": Size(*SHAPE, PAPER.training.batch_size, 512, 256, 2, 5, PAPER.recipe)}

pytestmark = [pytest.mark.timeout(3600), pytest.mark.filterwarnings("default")]

Benches = tuple[Workbench, Workbench, Workbench]


@pytest.fixture(scope="module")
def benches(size: str, pytestconfig: pytest.Config) -> Iterator[Benches]:
    """Of the layouts row-pairs, rows and compact."""
    with pytest.MonkeyPatch.context() as patch:
        if size == "quick":
            patch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
        device = pytestconfig.getoption("device")
        pairs, rows, compact = (Workbench(SIZES[size], device, layout) for layout in ("row-pairs", "rows", "compact"))
        yield pairs, rows, compact


@pytest.mark.benchmark(group="rows")
def bench_train(compare: Compare, benches: Benches) -> None:
    """A training step with AdamW and the loss of all tokens."""
    pairs, rows, compact = benches
    cells, *others = (bench.tokenizer.shown_cells(bench.tokens_BT.cpu().numpy()) for bench in benches)
    assert all(np.array_equal(cells, other) for other in others)
    ours, by_rows, plain = Steady(pairs.our_step("adamw")), rows.our_step("adamw"), compact.our_step("adamw")
    peer = compact.stock_step(compact.dtype, True)
    assert np.isfinite(ours())
    assert plain() == pytest.approx(peer(), rel=compact.tolerance)
    peak = peak_flops(pairs.device, pairs.dtype)
    limit = {} if peak is None else {
        "share of a large product's rate": Figure(
            lambda seconds: 100 * pairs.step_flops / seconds[OURS] / peak, unit=" %"
        )
    }  # fmt: skip
    compare(
        ours,
        {
            "the same in layout rows": Contender(by_rows, at_least=True),
            "the same in layout compact": Contender(plain, at_least=True),
            f"CodeGen, compiled, {compact.precision}, layout compact": Contender(peer, target=1.5, at_least=True),
            **limit,
            "recompilations and graph breaks": Figure(lambda _: ours.later, target=0),
        },
        units=len(pairs.tokens_BT), unit="samples", rounds=pairs.size.rounds, setting=pairs.setting,
        name=f"train, AdamW, layout row-pairs, {pairs.precision}",
    )  # fmt: skip
    assert ours.later == 0


@pytest.mark.benchmark(group="rows")
def bench_decode(compare: Compare, benches: Benches) -> None:
    """Programs for unseen specifications with the state behind every action, and their check."""
    pairs, _, compact = benches
    samples = generate(pairs.size.recipe, split="test", count=pairs.size.specifications)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def decode(bench: Workbench) -> Steady:
        decoder, prompts = bench.decoder(bench.dtype), bench.tokenizer.encode_prompts(samples)

        def run() -> None:
            with freed_memory_kept():
                for _ in range(bench.size.decodings):
                    made = bench.our_decode(decoder, prompts)
                    right = satisfied(generated_programs(bench.tokenizer, made), samples)[0] & made.finished
            found[bench.tokenizer.layout] = made.tokens, right

        return Steady(run)

    def theirs() -> None:
        prompts = compact.tokenizer.encode_prompts(samples)
        for _ in range(compact.size.decodings):
            tokens, _ = compact.stock_decode(compact.dtype, prompts)
            compact.python_check(tokens, samples)

    ours, by_rows, plain = map(decode, benches)
    for contender in (ours, by_rows, plain):
        contender()
    for bench in benches:
        tokens, right = found[bench.tokenizer.layout]
        assert np.array_equal(right, bench.python_check(tokens, samples))
    compare(
        ours,
        {
            "the same in layout rows": Contender(by_rows, at_least=True),
            "the same in layout compact": Contender(plain, at_least=True),
            f"generate and a Python check, {compact.precision}, layout compact": Contender(theirs, target=10.0, at_least=True),
            "recompilations and graph breaks": Figure(lambda _: ours.later, target=0),
        },
        units=len(samples), unit="specifications", rounds=min(3, pairs.size.rounds), setting=pairs.setting, scale=1 / pairs.size.decodings,
        name=f"decode, capture and check, layout row-pairs, {pairs.precision}",
    )  # fmt: skip
    assert ours.later == 0
