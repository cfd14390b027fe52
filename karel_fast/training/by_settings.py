"""Training and evaluation from settings alone, as the commands and whole experiments ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from karel_fast.data import Samples, Tokenizer
from karel_fast.data.storage.shards import Shards
from karel_fast.data.tokens.interpreter import InterpreterTokenizer
from karel_fast.model.shape import DecodingConfig, ModelShape
from karel_fast.training.config import DataConfig, EvaluationConfig, TrainConfig
from karel_fast.training.evaluate import evaluate
from karel_fast.training.interpret import interpret
from karel_fast.training.loop import Stop, TrainResult, train
from karel_fast.training.metrics import ReportProgress
from karel_fast.training.new_model import config_for
from karel_fast.training.rows import generated_rows, shard_rows


def train_by_settings(
    config: TrainConfig,
    shape: ModelShape,
    data: DataConfig,
    tokenizer: Tokenizer,
    run: Path,
    *,
    shards: Shards | None = None,
    resume: bool = False,
    progress: ReportProgress | None = None,
    stop: Stop | None = None,
) -> TrainResult:
    """`train` a new model of this shape on rows of the tokenizer's recipe; other arguments and errors as there.

    shards: the data set on disk that the samples are read from; None: they are generated.
    """
    if shards is None:
        limit = data.samples or None
        rows = generated_rows(tokenizer.recipe, tokenizer, limit=limit, first=data.first_sample, active=data.active)
    else:
        limit = data.samples or len(shards) - data.first_sample
        rows = shard_rows(shards, tokenizer, limit, data.first_sample, data.active)
    return train(
        config,
        config_for(tokenizer, shape),
        rows,
        run,
        pad_id=tokenizer.pad_id,
        tokenizer=tokenizer,
        recipe=tokenizer.recipe.to_json(),
        layout=tokenizer.layout,
        samples=limit or 0,
        first_sample=data.first_sample,
        active=data.active,
        shards="" if shards is None else str(shards.directory.resolve()),
        resume=resume,
        progress=progress,
        stop=stop,
    )


def metrics_by_settings(
    snapshot: Path,
    tokenizer: Tokenizer,
    samples: Samples,
    config: EvaluationConfig,
    decoding: DecodingConfig,
    *,
    any_recipe: bool = False,
) -> dict[str, Any]:
    """The metrics of `evaluate`, or of `interpret` for a tokenizer whose model writes outputs; errors as there.

    Raises InputError for settings about programs where the model writes none.
    """
    common: dict[str, Any] = {
        "batch_size": decoding.decode_batch_size,
        "device": decoding.device,
        "precision": decoding.precision,
        "any_recipe": any_recipe,
        "compile_model": decoding.compile_decoding,
    }
    if isinstance(tokenizer, InterpreterTokenizer):
        config.check_outputs()
        return interpret(snapshot, tokenizer, samples, **common)
    return evaluate(
        snapshot,
        tokenizer,
        samples,
        free=config.free,
        ideal=config.ideal,
        text=config.text,
        search=config.search,
        active=config.active,
        **common,
    ).metrics
