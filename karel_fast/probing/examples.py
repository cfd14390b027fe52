"""A few specifications for the report: worlds, the written program, its true trace, and what probes read at each
action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from karel_fast.karel.language.vocabulary import ACTION_NAMES
from karel_fast.probing.experiments import (
    PROBE_SPLITS,
    Grid,
    Split,
    Tracer,
    gather_rows,
    joined,
    setting_of,
    trace_programs,
)
from karel_fast.probing.features import Setting, label_set, resolve_feature
from karel_fast.probing.probes.training import ProbeConfig, ProbeWeights, train_probes


def describe_examples(
    splits: Mapping[str, Split],
    samples: Any,
    *,
    count: int = 8,
    features: Sequence[str] = ("direction", "position", "facing"),
    depth: tuple[str, tuple[int, ...]] = ("mlp2", (256, 1024)),
    config: ProbeConfig | None = None,
    device: str = "cpu",
    max_rows: int = 20_000,
    tracer: Tracer = trace_programs,
) -> dict[str, Any]:
    """What an examples file holds: up to `count` test specifications, half of them right where there are enough.

    samples: the test specifications (`karel_fast.data.Samples`), the table's programs in order. One probe per feature
    is trained on the table's last layer; it reads test rows it never saw.
    """
    from karel_fast.karel.execution import check, run
    from karel_fast.karel.execution import trace as trace_runs
    from karel_fast.karel.language import CompiledPrograms

    test = splits["test"].table
    setting = setting_of(splits["test"])
    readers = _readers(splits, features, depth, config or ProbeConfig(), device, max_rows, tracer)
    chosen = choose(test.correct, test.finished, count)
    examples_per = len(splits["test"].inputs) // max(1, test.programs)
    made = []
    shown_in, shown_out = samples.shown()
    held_in, held_out = samples.held_out() if samples.recipe.held_out else (None, None)
    first_row = test.first_row
    for i in chosen:
        length = int(test.lengths[i])
        program = CompiledPrograms.from_actions(test.actions[i : i + 1], test.lengths[i : i + 1])
        inputs = shown_in[i * examples_per : (i + 1) * examples_per]
        outputs = shown_out[i * examples_per : (i + 1) * examples_per]
        trace = trace_runs(program, inputs, semantics=samples.recipe.semantics)
        results = run(program, inputs, semantics=samples.recipe.semantics).worlds
        right = check(program, inputs, outputs, semantics=samples.recipe.semantics)
        generalizes = None
        if held_in is not None and held_out is not None:
            rows = slice(i * samples.recipe.held_out, (i + 1) * samples.recipe.held_out)
            generalizes = bool(check(program, held_in[rows], held_out[rows], semantics=samples.recipe.semantics).all())
        texts = [w.to_text() for w in (inputs, outputs, results)]
        worlds = [
            {
                "input": texts[0][e].split("\n"),
                "output": texts[1][e].split("\n"),
                "result": texts[2][e].split("\n"),
                "right": bool(right[e]),
                "robots": trace.robot[e, : length + 1].tolist(),
            }
            for e in range(examples_per)
        ]
        states = test.hidden(np.arange(first_row[i], first_row[i] + length), len(test.layers) - 1)
        reference = samples.actions[i, : samples.lengths[i]]
        made.append(
            {
                "sample": int(samples.start + i),
                "correct": bool(test.correct[i]),
                "generalizes": generalizes,
                "actions": [ACTION_NAMES[a] for a in test.actions[i, :length]],
                "reference": [ACTION_NAMES[a] for a in reference],
                "worlds": worlds,
                "reads": _reads(trace, readers, states, length, setting),
            }
        )
    return {"reader": f"probes of depth {depth[0]}", "layer": test.layers[-1], "examples": made}


def choose(correct: np.ndarray, finished: np.ndarray, count: int) -> list[int]:
    """The first right and wrong programs, alternating while both last."""
    right, wrong = np.flatnonzero(finished & correct).tolist(), np.flatnonzero(finished & ~correct).tolist()
    wanted = min(count, len(right) + len(wrong))
    some_right = min(len(right), max(-(-wanted // 2), wanted - len(wrong)))
    return sorted(right[:some_right] + wrong[: wanted - some_right])


def _readers(
    splits: Mapping[str, Split],
    features: Sequence[str],
    depth: tuple[str, tuple[int, ...]],
    config: ProbeConfig,
    device: str,
    max_rows: int,
    tracer: Tracer,
) -> dict[str, ProbeWeights]:
    grid = Grid(features=tuple(features), offsets=(0,), semantics=("original",), seeds=(0,))
    rows = {name: gather_rows(splits[name], grid, name, max_rows, tracer) for name in PROBE_SPLITS}
    states, parts, tasks = joined(splits, rows, splits["train"].table.layers[-1], grid)
    results = train_probes(
        states, tasks, parts, depths=dict([depth]), seeds=(0,), config=config, device=device, keep_weights=True
    )
    return {str(r.key["feature"]): r.weights for r in results if r.weights is not None}


def _reads(
    trace: Any, readers: Mapping[str, ProbeWeights], states: np.ndarray, length: int, setting: Setting
) -> list[dict[str, Any] | None]:
    """Per action, per feature: the true state after it and the probe's reading, as texts by world and head."""
    if length == 0:
        return []
    truth = label_set(trace, tuple(readers), lengths=np.array([length]), setting=setting)
    guess = {name: weights.predict(states) for name, weights in readers.items()}
    reads: list[dict[str, Any] | None] = []
    for k in range(length):
        read = {}
        for name in readers:
            feature = resolve_feature(name)
            true = truth[name][0, k]
            if (true < 0).all():
                continue
            answer = np.where(true < 0, true, guess[name][k])
            read[name] = {
                side: [[feature.class_name(int(v), setting) for v in world] for world in values]
                for side, values in (("truth", true), ("probe", answer))
            }
        reads.append(read or None)
    return reads
