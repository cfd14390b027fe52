"""Training, scoring with capture and decoding against transformers, on the same weights in the same process.

Peers: CodeGenForCausalLM eager and compiled, output_hidden_states, nnsight, `generate`; the limits are the rate of a large matrix product
and, for decoding, the time that the prompts' products take at that rate. The memory allocator is left as it comes, for peers and for this
project alike, except that decoding brings `freed_memory_kept` along, as the commands do. Targets are those of the sizes small
(two processors) and paper (`--device cuda --size paper`, one GPU).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch
from conftest import OURS, Compare, Contender, Figure
from model_setup import MODEL_SIZES, Workbench
from torch_measures import Steady, peak_bytes

from karel_fast.data import generate
from karel_fast.model import Capture, Intervention
from karel_fast.model.device import peak_flops
from karel_fast.support.memory import freed_memory_kept
from karel_fast.training.optim import OptimizerName
from karel_fast.training.written import generated_programs, satisfied

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("default"),  # the peers' warnings are not ours to fix
]


@pytest.fixture(scope="module")
def bench(size: str, pytestconfig: pytest.Config) -> Iterator[Workbench]:
    with pytest.MonkeyPatch.context() as patch:
        if size == "quick":  # the same graphs without the minutes that it takes to make machine code of them
            patch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
        yield Workbench(MODEL_SIZES[size], pytestconfig.getoption("device"))


@pytest.mark.benchmark(group="model")
def bench_train(compare: Compare, bench: Workbench) -> None:
    """A training step, both sides with AdamW and the loss of all tokens."""
    cuda = bench.device.type == "cuda"
    eager = ("bf16", bench.dtype) if cuda else ("fp32", torch.float32)
    ours = Steady(bench.our_step("adamw"))
    peer, compiled_peer = bench.stock_step(eager[1], False), bench.stock_step(bench.dtype, True)
    loss = ours()
    assert peer() == pytest.approx(loss, rel=bench.tolerance)
    assert compiled_peer() == pytest.approx(loss, rel=bench.tolerance)
    peak = peak_flops(bench.device, bench.dtype)
    limit = "peak rate (data sheet)" if cuda else "rate of a large product"
    mfu = {} if peak is None else {
        f"MFU: share of the {limit}": Figure(
            lambda seconds: 100 * bench.step_flops / seconds[OURS] / peak, target=50 if cuda else None, at_least=True, unit=" %"
        )
    }  # fmt: skip
    compare(
        ours,
        {
            f"CodeGen, eager, {eager[0]}": Contender(peer, target=2.5 if cuda else 4.0, at_least=True),
            f"CodeGen, compiled, {bench.precision}": Contender(compiled_peer, target=1.3, at_least=True),
            **mfu,
            "recompilations and graph breaks": Figure(lambda _: ours.later, target=0),
        },
        units=bench.tokens_BT.numel(), unit="tokens", rounds=bench.size.rounds, setting=bench.setting,
        name=f"train, AdamW, {bench.precision}",
    )  # fmt: skip
    assert ours.later == 0


@pytest.mark.benchmark(group="model")
@pytest.mark.parametrize(("optimizer", "loss"), [("muon", "all"), ("muon", "program")])
def bench_train_otherwise(
    compare: Compare, bench: Workbench, optimizer: OptimizerName, loss: Literal["all", "program"]
) -> None:
    """The default optimizer, and the loss of the program's tokens only."""
    ours, other = Steady(bench.our_step(optimizer, loss)), bench.our_step("adamw")
    if loss == "all":
        assert ours() == pytest.approx(other(), rel=bench.tolerance)
    ours()
    compare(
        ours,
        {
            "with AdamW and loss of all": Contender(other, at_least=True),
            "recompilations and graph breaks": Figure(lambda _: ours.later, target=0),
        },
        units=bench.tokens_BT.numel(), unit="tokens", rounds=bench.size.rounds, setting=bench.setting,
        name=f"train, {optimizer.title()}, loss of {loss}, {bench.precision}",
    )  # fmt: skip
    assert ours.later == 0


@pytest.mark.benchmark(group="model")
@pytest.mark.parametrize("logits", ["all", "program"])
def bench_score(compare: Compare, bench: Workbench, logits: str) -> None:
    """A forward pass with the mean state at program positions; logits of all tokens, or of the program's, which is what scoring reads."""
    start = 0 if logits == "all" else bench.program.start
    score, capture = bench.our_score(start), Capture("mean", "program")
    ours = Steady(bench.waited(lambda: score(capture)))
    without = bench.waited(lambda: score(None))
    stacked, traced = bench.waited(lambda: bench.stock_score(start)), bench.nnsight_score(start)
    found_logits, hidden = ours()
    bench.assert_same(found_logits, without())
    for peer in (stacked, traced):
        if peer is not None:
            peer_logits, peer_hidden = peer()
            bench.assert_same(found_logits, peer_logits)
            bench.assert_same(hidden, peer_hidden)

    peak = functools.partial(peak_bytes, device=bench.device)
    weights = sum(p.nbytes for p in bench.model.parameters())
    with_capture, bare = peak(ours), peak(without)
    theirs = peak(stacked) - peak(lambda: bench.stock_score(start, states=False))
    extra = max(with_capture - bare, hidden.nbytes)  # at the least what is returned
    compare(
        ours,
        {
            "without capture": Contender(without, target=1.03),
            "output_hidden_states and stack": Contender(stacked, target=2.0, at_least=True),
            "nnsight": Contender(traced and bench.waited(traced), target=3.0, at_least=True),
            "peak memory / without capture": Figure(
                lambda _: (weights + with_capture) / (weights + bare), target=1.02, unit="x"
            ),
            "memory added by the stack": Figure(lambda _: theirs / extra, target=5, at_least=True, unit="x ours"),
            "recompilations and graph breaks": Figure(lambda _: ours.later, target=0),
        },
        units=bench.tokens_BT.numel(), unit="tokens", rounds=bench.size.rounds, setting=bench.setting,
        name=f"score with capture, logits of {logits}, {bench.precision}",
    )  # fmt: skip
    assert ours.later == 0


@pytest.mark.benchmark(group="model")
def bench_edit(compare: Compare, bench: Workbench) -> None:
    """A forward pass with sixteen dimensions of one state replaced at the program's positions."""
    start, width = bench.program.start, bench.model.config.n_embd
    frame = torch.linalg.qr(
        torch.randn(width, min(16, width), generator=torch.Generator().manual_seed(0))
    ).Q.mT.contiguous()
    edit = Intervention.set(
        torch.randn(width).to(bench.device),
        frame.to(bench.device),
        layers=[len(bench.model.h) // 2],
        positions="program",
    )
    score, plain = bench.our_score(start, edit), bench.our_score(start)
    ours, without = Steady(bench.waited(lambda: score(None))), bench.waited(lambda: plain(None))
    assert not torch.equal(ours(), without())
    peak = functools.partial(peak_bytes, device=bench.device)
    weights = sum(p.nbytes for p in bench.model.parameters())
    edited, bare = peak(ours), peak(without)
    compare(
        ours,
        {
            "without edit": Contender(without, target=1.05),
            "peak memory / without edit": Figure(lambda _: (weights + edited) / (weights + bare), target=1.02, unit="x"),
            "recompilations and graph breaks": Figure(lambda _: ours.later, target=0),
        },
        units=bench.tokens_BT.numel(), unit="tokens", rounds=bench.size.rounds, setting=bench.setting,
        name=f"score with an edit, {bench.precision}",
    )  # fmt: skip
    assert ours.later == 0


@pytest.mark.benchmark(group="model")
def bench_decode(compare: Compare, bench: Workbench) -> None:
    """Programs for unseen specifications with the state behind every action, and their check."""
    tokenizer, grammar = bench.tokenizer, bench.tokenizer.grammar()
    samples = generate(bench.size.recipe, split="test", count=bench.size.specifications)
    prompts = tokenizer.encode_prompts(samples)
    check_against_generate(bench, prompts[: bench.size.decode_batch])
    decoder = bench.decoder(bench.dtype)
    executor: list[float] = []
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def ours() -> None:
        made = bench.our_decode(decoder, prompts)
        start = time.perf_counter()
        right = satisfied(generated_programs(tokenizer, made), samples)[0] & made.finished
        executor.append(time.perf_counter() - start)
        found["ours"] = made.tokens, right

    def theirs(dtype: torch.dtype = bench.dtype) -> None:
        tokens, _ = bench.stock_decode(dtype, prompts)
        right = bench.python_check(tokens, samples)
        if dtype == bench.dtype:
            found["theirs"] = tokens, right

    steady = Steady(ours)
    steady()

    def several_times() -> None:
        """As in a decoding of 10,000: only the first batches have to ask the system for memory."""
        with freed_memory_kept():
            for _ in range(bench.size.decodings):
                steady()

    def same(_: dict[str, float]) -> float:
        """In bf16 near ties may fall the other way, and a program goes on from there."""
        (tokens, right), (peer_tokens, peer_right) = found["ours"], found["theirs"]
        equal = (tokens == peer_tokens).all(axis=1)
        assert (right == peer_right)[equal].all()
        assert equal.all() or bench.dtype == torch.bfloat16
        return 100 * float(equal.mean())

    # Of the last block only one position is computed, but for keys and values. Attention is counted whole, as for MFU.
    prompt, peak = tokenizer.prompt_length, peak_flops(bench.device, bench.dtype)
    flops = prompts.size * bench.model.flops_per_token(prompt, prompt - 1) / 3
    limit = {} if peak is None else {
        "limit: the prompts' products": Figure(lambda seconds: seconds[OURS] * peak / flops, unit="x its time")
    }  # fmt: skip
    fp32 = {} if bench.dtype == torch.float32 else {
        "generate and a Python check, fp32": Contender(functools.partial(theirs, torch.float32), at_least=True)
    }  # fmt: skip
    compare(
        several_times,
        {
            f"generate and a Python check, {bench.precision}": Contender(theirs, target=10.0, at_least=True),
            **fp32,
            **limit,
            "executor's share of the time": Figure(
                lambda seconds: 100 * float(np.median(executor[1:])) / seconds[OURS], target=1, unit=" %"
            ),
            "programs that are the peer's": Figure(same, unit=" %"),
            "recompilations and graph breaks": Figure(lambda _: steady.later, target=0),
        },
        units=len(prompts), unit="specifications", rounds=min(3, bench.size.rounds), setting=bench.setting, scale=1 / bench.size.decodings,
        name=f"decode, capture and check, {bench.precision}",
    )  # fmt: skip
    assert steady.later == 0
    assert (grammar.action_of_token[found["ours"][0]] >= 0).any()


def check_against_generate(bench: Workbench, prompts: np.ndarray) -> None:
    """In fp32 both sides write the same programs, and the states behind their actions are the same."""
    made = bench.our_decode(bench.decoder(torch.float32), prompts)
    tokens, states = bench.stock_decode(torch.float32, prompts)
    assert np.array_equal(made.tokens, tokens)
    acts = torch.from_numpy(bench.tokenizer.grammar().action_of_token[tokens] >= 0)[:, : made.hidden.shape[1]]
    torch.testing.assert_close(made.hidden[acts], states[:, : made.hidden.shape[1]][acts], atol=1e-3, rtol=1e-3)
