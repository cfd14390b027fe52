"""What `karel-fast train RUN --resume` takes from the run: the value of every option that is not given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from karel_fast.cli.options import as_options
from karel_fast.model.shape import ModelShape
from karel_fast.training.config import DataConfig, TrainConfig


def recall(context: typer.Context, parameter: typer.CallbackParam, value: Any) -> Any:
    """Callback of RUN and --resume, which are read before all others, in any order: with both, the run's own settings are the
    options' defaults.
    """
    known = {**context.params, parameter.name: value}
    if known.get("resume") and known.get("run") is not None:
        context.default_map = settings_of(known["run"])
    return value


def settings_of(run: Path) -> dict[str, Any]:
    """The options that a run was begun with, by name; empty where there is nothing to go on from."""
    from karel_fast.model.hub import read_config
    from karel_fast.runs.snapshots import list_snapshots, read_begun

    card, snapshots = read_begun(run), list_snapshots(run)
    if not card or not snapshots:
        return {}
    model = read_config(snapshots[-1])
    shape = {"layers": model.n_layer, "width": model.n_embd, "heads": model.n_head, "rotary_dim": model.rotary_dim}
    places = {name: card[name] for name in ("recipe", "layout", "shards") if card.get(name)}
    return {
        **places,
        **as_options(TrainConfig, card.get("train", {})),
        **as_options(DataConfig, {**card, **(card.get("active") or {})}),
        **as_options(ModelShape, shape),
    }
