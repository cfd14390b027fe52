"""A run's snapshots evaluated, and what they write kept in the run's folder, where report, compare and checklist read it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from karel_fast.data import Tokenizer, generate
from karel_fast.model.shape import DecodingConfig
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.side_by_side import home, make_room
from karel_fast.runs.snapshots import list_snapshots, read_card, weights_digest
from karel_fast.support.files import read_json_if_whole, write_json
from karel_fast.support.locks import alone
from karel_fast.training.by_settings import metrics_by_settings
from karel_fast.training.config import EvaluationConfig

KIND = "evaluation"


def is_evaluated(run: str | Path, snapshot: Path, config: EvaluationConfig, *, own: bool = False) -> bool:
    """Whether the snapshot's weights as they are now have been evaluated so; own: as for `evaluate_snapshot`."""
    folder = RunFolder(run)
    step = int(read_card(snapshot)["step"])
    stored = read_json_if_whole(folder.file(_home(folder, step, config, own), step)) or {}
    # Earlier versions did not write the run's own settings into each file.
    settings = stored.get("settings", _settings(config) if own else None)
    return stored.get("weights") == weights_digest(snapshot) and settings == _settings(config)


def evaluate_snapshot(
    run: str | Path,
    snapshot: Path,
    tokenizer: Tokenizer,
    config: EvaluationConfig,
    decoding: DecodingConfig,
    *,
    own: bool = False,
) -> Path:
    """Evaluate a snapshot of the run, write RUN/evaluation/step-*.json, and return it. Done already: nothing happens.

    The run's last snapshot is evaluated on `config.specifications`, those before it on `config.on_the_way`. Results of other
    settings stay, and these go beside them (see `karel_fast.runs.side_by_side`); own: these are the run's own settings. Errors as
    of `metrics_by_settings`; BlockingIOError if another process is evaluating this snapshot.
    """
    folder = RunFolder(run)
    step = int(read_card(snapshot)["step"])
    target = folder.file(_home(folder, step, config, own), step)
    if is_evaluated(run, snapshot, config, own=own):
        return target
    with alone(target):
        if target != folder.file(_home(folder, step, config, own), step):
            raise BlockingIOError(f"{target}: another process has just evaluated {snapshot} otherwise: try again")
        weights = weights_digest(snapshot)
        if own:
            make_room(folder, KIND, step, {"settings": _settings(config)})
        samples = generate(
            tokenizer.recipe.with_shortest(config.shortest),
            split=config.split,
            start=config.start,
            count=config.count(last=snapshot.name == list_snapshots(run)[-1].name),
        )
        metrics = metrics_by_settings(snapshot, tokenizer, samples, config, decoding)
        write_json(target, {"step": step, "weights": weights, "settings": _settings(config), **metrics})
    return target


def _home(folder: RunFolder, step: int, config: EvaluationConfig, own: bool) -> str:
    return KIND if own else home(folder, KIND, step, {"settings": _settings(config)})


def _settings(config: EvaluationConfig) -> dict[str, object]:
    """As JSON has them."""
    return dataclasses.asdict(config)
