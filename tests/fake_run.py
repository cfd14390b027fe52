"""A run folder made up for the report's tests: the three phases, plausible probe scores, a few drawn samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from karel_fast.probing.differences import differences, differences_in_differences
from karel_fast.probing.measures import ceiling_measures, measures
from karel_fast.runs.folder import step_name
from karel_fast.support.files import write_json

ACTIONS = ("move", "turn_left", "turn_right", "pick_marker", "put_marker")


def without_figures(monkeypatch: Any) -> None:
    """Reports of tests that look at other things have none: drawing takes seconds."""
    monkeypatch.setattr("karel_fast.report.page.all_plots", lambda _: [])


def ceilings(right: float, base: float, entropy: float, lost: float) -> dict[str, float | None]:
    record = {"majority": base, "entropy": entropy, "lift": right - base, "bits": entropy - lost}
    return ceiling_measures(record, {"both": (0.95, 0.1), "specification": (0.7, 0.9), "prefix": (base, 1.9)})


def records(step: int, progress: float, seeds: int, layers: list, rng: np.random.Generator) -> list[dict]:
    out = []
    majority = {"direction": 0.27, "position": 0.14, "facing": 0.6}
    lift = {"linear": 0.35, "mlp1": 0.6, "mlp2": 0.75}
    for layer in layers:
        depth_in = 1.0 if layer == "mean" else 0.4 + 0.6 * layer / max(layers)
        for feature, base in majority.items():
            for depth, most in lift.items():
                for seed in range(seeds):
                    noise = rng.normal(0, 0.006)

                    def record(
                        offset=0, semantics="original", labels="true", states="trained", value=0.0, base=base, **key
                    ):
                        right = float(np.clip(value, 0, 1))
                        lost = 2.0 * (1 - 0.9 * (right - base) / (1 - base))
                        return {
                            **key, "offset": offset, "semantics": semantics, "labels": labels, "states": states,
                            "accuracy": float(np.clip(value, 0, 1)), "joint": float(np.clip(value, 0, 1) ** 3),
                            "validation": float(np.clip(value, 0, 1)), "majority": base, "epoch": 4,
                            "entropy": 2.0, "cross_entropy": lost,
                            "temperature": 1.0, **measures(right, base, 2.0, lost),
                            **(ceilings(right, base, 2.0, lost) if labels == "true" else {}),
                            "train_rows": 9000, "test_rows": 1000, "note": "",
                        }  # fmt: skip

                    key = {"feature": feature, "depth": depth, "layer": layer, "seed": seed}
                    room = (1 - base) * depth_in
                    for offset in (-2, -1, 0, 1, 2):
                        for semantics, share in (("original", 1), ("flip", 0.55), ("adversarial", 0.4)):
                            value = base + room * most * progress * share * 0.85 ** abs(offset) + noise
                            out.append(record(offset, semantics, value=value, **key))
                    for semantics, share in (("original", 0.08), ("flip", 0.06), ("adversarial", 0.05)):
                        out.append(record(0, semantics, "shuffled", value=base - 0.02 + noise, **key))
                        out.append(record(0, semantics, "control", value=base + 0.03 + noise, **key))
                        fresh = rng.normal(0, 0.004)
                        out.append(record(0, semantics, states="untrained", value=base + share + fresh, **key))
    return out


def world(rng: np.random.Generator) -> tuple[list[str], tuple[int, int, int]]:
    grid = np.full((8, 8), "#")
    grid[1:7, 1:7] = rng.choice(list(".....13#"), (6, 6))
    row, column, direction = int(rng.integers(1, 7)), int(rng.integers(1, 7)), int(rng.integers(4))
    grid[row, column] = "^>v<"[direction]
    return ["".join(line) for line in grid], (row, column, direction)


def example(sample: int, correct: bool, rng: np.random.Generator) -> dict:
    length = int(rng.integers(6, 11))
    worlds = []
    for _ in range(5):
        given, robot = world(rng)
        wanted, _ = world(rng)
        robots = [list(robot)]
        for _ in range(length):
            robots.append(
                [int(np.clip(robots[-1][0] + rng.integers(-1, 2), 1, 6)), robots[-1][1], int(rng.integers(4))]
            )
        worlds.append(
            {
                "input": given,
                "output": wanted,
                "result": wanted if correct else given,
                "right": correct,
                "robots": robots,
            }
        )
    reads = []
    for _ in range(length):
        truth = [[str(rng.choice(["north", "east", "south", "west"]))] for _ in range(5)]
        reads.append({"direction": {"truth": truth, "probe": [t if rng.random() < 0.8 else ["west"] for t in truth]}})
    reads[-1] = None
    names = [str(rng.choice(ACTIONS)) for _ in range(length)]
    return {
        "sample": sample, "correct": correct, "generalizes": True if correct else None, "actions": names,
        "reference": names[:-1], "worlds": worlds, "reads": reads,
    }  # fmt: skip


def make(path: Path, snapshots: int = 8, seeds: int = 3, layers: list | None = None, examples: int = 4) -> Path:
    rng = np.random.default_rng(3)
    path.mkdir(parents=True, exist_ok=True)
    steps = [i * 400 for i in range(snapshots)]
    write_json(path / "config.json", {"recipe": "paper", "steps": steps[-1]})
    lines = [
        {"step": s, "loss": 3.2 * np.exp(-s / 900) + 0.6 + rng.normal(0, 0.03)} for s in range(0, steps[-1] + 1, 20)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for i, step in enumerate(steps):
        t = i / max(1, snapshots - 1)
        progress = 1 / (1 + np.exp(-12 * (t - 0.6)))
        diversity = 1 / (1 + np.exp(-20 * (t - 0.25)))
        write_json(
            path / "evaluation" / f"{step_name(step)}.json",
            {
                "step": step, "samples": 1000, "loss": 2.5 - progress, "floor_loss": 0.8, "divergence": 1.7 - progress,
                "solver_generalization": 0.81, "generative_accuracy": 0.9 * progress, "generalization": 0.87 * progress,
                "perplexity": 5.2 - 2.6 * t, "distinct_programs": int(10 + 900 * diversity),
                "top_share": 0.9 * (1 - diversity), "mean_length": 4 + 4 * diversity,
                "reference_mean_length": 8.0, "parse_rate": 0.6 + 0.4 * diversity,
                "written_loss": 1.5 - t, "written_perplexity": float(np.exp(1.5 - t)), "loss_gap": 0.1,
                "input_loss": [1.9, 1.9], "output_loss": [1.5 - t, 1.4 - t], "unigram_input_loss": 1.9,
                "unigram_output_loss": 2.0, "copy_output_loss": 0.6, "unigram_program_loss": 1.7,
                "correct_lengths": {"shorter": 0.3 * t, "equal": 1 - 0.4 * t, "longer": 0.1 * t} if i else None,
                "by_reference_length": {"7": {"samples": 600, "correct": 590}, "8": {"samples": 400, "correct": 310}},
                "by_written_length": {"7": {"correct": 500, "wrong": 20}, "8": {"correct": 400, "wrong": 80}},
                "draws": 4, "pass_at_k": {str(k): 0.9 * progress * (1 - 0.5**k) for k in (1, 2, 4)},
                "pass_at_k_generalization": {str(k): 0.8 * progress * (1 - 0.5**k) for k in (1, 2, 4)},
                "pass_at_k_prior": {str(k): 0.02 * k for k in (1, 2, 4)}, "beam_accuracy": 0.92 * progress,
            },
        )  # fmt: skip
        found = records(step, progress, seeds, layers or ["mean"], rng)
        write_json(
            path / "probing" / f"{step_name(step)}.json",
            {
                "step": step,
                "format": 1,
                "records": found,
                "differences": differences(found),
                "differences_in_differences": differences_in_differences(found),
                "notes": [],
            },
        )
    write_json(path / "steering" / f"{step_name(steps[-1])}.json", {"step": steps[-1], **edits()})
    for kind, loss in (("shown", 0.0), ("space", 0.3)):
        found = records(steps[-1], 1.0 - loss, seeds, ["mean"], rng)
        grid = {"actions": {"train": [0, 1], "test": [2]}}
        result = {
            "step": steps[-1], "grid": grid, "records": found, "differences": differences(found),
            "differences_in_differences": differences_in_differences(found), "notes": [],
        }  # fmt: skip
        write_json(path / "latent" / kind / f"{step_name(steps[-1])}.json", result)
    found = records(steps[-1], 0.8, seeds, ["mean"], rng)
    result = {"step": steps[-1], "records": found, "differences": differences(found), "notes": []}
    write_json(path / "paper-grid" / f"{step_name(steps[-1])}.json", result)
    if examples:
        made = [example(i, i % 2 == 0, rng) for i in range(examples)]
        found = {"step": steps[-1], "reader": "mlp2", "examples": made}
        write_json(path / "examples" / f"{step_name(steps[-1])}.json", found)
    return path


def edits() -> dict[str, Any]:
    """What `karel-fast steer` finds, made up."""
    shares = ("obeys", "keeps", "damage", "equal", "odds")

    def measured(share: float, **what: Any) -> dict[str, Any]:
        ends = {"low": max(0.0, share - 0.05), "high": min(1.0, share + 0.05)}
        low_high = {f"{name}_{end}": value for name in shares for end, value in ends.items()}
        return {"pairs": 50, "programs": 50, "odds_share": share, **dict.fromkeys(shares, share), **low_high, **what}

    swaps = [
        measured(0.1 * layer, experiment=experiment, kind=kind, layer=layer, group=group)
        for experiment, kinds in (("interchange", ("turned", "ending", "written")), ("choice", ("turned",)))
        for kind in kinds
        for layer in (0, 1, 2, 3)
        for group in ("none", "changed", "output world", "all")
    ]
    common = {"experiment": "subspace", "kind": "turned", "layer": 2, "group": "output world"}
    subspaces = [
        measured(rank / 20, method=method, source=source, rank=rank, control=method == "random", **common)
        for method, source in (("rotation", "pair"), ("random", "pair"), ("rotation", "stranger, same turn"))
        for rank in (1, 2, 4)
    ]
    subspaces += [
        measured(0.2, method="probe of turn", source="pair", rank=3, control=False, read=0.5, base=0.3, **common),
        measured(0.9, method="whole state", source="pair", rank=32, control=False, **common),
    ]
    erased = [
        {
            "experiment": "erasure", "kind": "turned", "method": method, "layer": layer, "group": "all", "pairs": 50,
            "layers": [] if method == "nothing" else [0, 1, 2, 3] if layer is None else [layer], "satisfied": 0.5,
            "satisfied_low": 0.4, "satisfied_high": 0.6, "read": 0.3, "base": 0.25, "variance": 0.1,
        }
        for method in ("nothing", "direction", "turn", "random")
        for layer in ((None,) if method == "nothing" else (0, 1, 2, 3, None))
    ]  # fmt: skip
    site = {"layer": 2, "group": "output world", "wrong_layer": 0, "wrong_group": "input"}
    records = [*swaps, *subspaces, *erased]
    return {
        "experiment": {},
        "sites": {"turned": site},
        "solved": {"turned": 0.9},
        "records": records,
        "notes": ["a note"],
    }
