"""The commands `karel-fast train` and `karel-fast evaluate`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from karel_fast.cli.data import read_recipe
from karel_fast.cli.options import LAYOUT_HELP, SEMANTICS_HELP, Plugins, with_settings
from karel_fast.cli.resume import recall
from karel_fast.cli.snapshots import tell_beside
from karel_fast.cli.tables import columns
from karel_fast.model.shape import DecodingConfig, ModelShape
from karel_fast.support.checks import InputError
from karel_fast.support.memory import freed_memory_kept
from karel_fast.support.progress import Progress
from karel_fast.training.config import DataConfig, EvaluationConfig, TrainConfig

if TYPE_CHECKING:
    from karel_fast.data import Recipe, Samples

# torch and transformers take seconds to load, so each command imports what it needs when it runs.


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("train")(train_command)
    app.command("evaluate")(evaluate_command)


@with_settings
@freed_memory_kept()
def train_command(
    run: Annotated[
        Path, typer.Argument(help="Folder of the run: snapshots, metrics, settings.", is_eager=True, callback=recall)
    ],
    config: TrainConfig,
    shape: ModelShape,
    data_config: DataConfig,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe: a preset's name or a JSON file (default: paper, or the data set's).")
    ] = None,
    shards: Annotated[
        Path | None, typer.Option(help="Train on this data set on disk instead, and on its recipe.")
    ] = None,
    layout: Annotated[str, typer.Option(help=f"{LAYOUT_HELP}; or interpreter: code before outputs.")] = "compact",
    semantics: Annotated[
        str | None, typer.Option(help=f"Train on this meaning; by default the recipe's. {SEMANTICS_HELP}")
    ] = None,
    plugin: Plugins = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the run's last saved state, with its settings where none are given.",
            is_eager=True,
            callback=recall,
        ),
    ] = False,
) -> None:
    """Train a model from scratch on programs of a recipe, or resume a run.

    Ctrl-C or SIGTERM ends it at the next report, with its state saved and exit code 130. Under torchrun every process
    takes its share of each batch.
    """
    from karel_fast.data import open_shards
    from karel_fast.data.tokens.interpreter import make_tokenizer
    from karel_fast.karel.language import resolve_semantics
    from karel_fast.support.interrupt import StopSignals
    from karel_fast.training.bar import TrainingBar
    from karel_fast.training.by_settings import train_by_settings

    data = None if shards is None else open_shards(shards)
    if data is not None and recipe is not None and read_recipe(recipe).hash != data.recipe.hash:
        whose = "--recipe, or the run that goes on," if resume else "--recipe"
        raise InputError(
            f"--shards {shards}: the data set is of another recipe than {whose} says; leave out one of them"
        )
    chosen = read_recipe(recipe or "paper") if data is None else data.recipe
    if semantics is not None:
        if data is not None:
            raise InputError("--semantics: the outputs on disk are of the data set's own meaning; leave out --shards")
        chosen = chosen.replace(semantics=resolve_semantics(semantics))
    tokenizer = make_tokenizer(chosen, layout)
    with TrainingBar(config.steps) as bar, StopSignals() as signals:
        result = train_by_settings(
            config, shape, data_config, tokenizer, run, shards=data, resume=resume, progress=bar,
            stop=lambda _: signals.asked,
        )  # fmt: skip
    if result.step < config.steps:
        typer.echo(f"{run}: stopped after {result.step} of {config.steps} updates; --resume goes on", err=True)
        raise typer.Exit(130)
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes the first one speaks
        typer.echo(str(result.snapshots[-1]))


@with_settings
@freed_memory_kept()
def evaluate_command(
    snapshot: Annotated[Path, typer.Argument(help="A snapshot folder, or a run's: its last snapshot, or all.")],
    config: EvaluationConfig,
    decoding: DecodingConfig,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe: a preset's name or a JSON file (default: the snapshot's own).")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help=f"{LAYOUT_HELP}; or interpreter (default: the snapshot's own).")
    ] = None,
    any_recipe: Annotated[bool, typer.Option(help="Let the recipe differ from the snapshot's.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Take all specifications of this file instead, JSON lines with code, input0, output0, ..; from --start on."
        ),
    ] = None,
    every_snapshot: Annotated[
        bool,
        typer.Option(
            "--every-snapshot",
            help="Evaluate all snapshots of a run, and keep the results where its report finds them.",
        ),
    ] = False,
    plugin: Plugins = None,
    output: Annotated[Path | None, typer.Option(help="Write the metrics to this JSON file, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all measures as JSON, in place of a table.")] = False,
) -> None:
    """Let a snapshot write programs for unseen specifications and print how many satisfy them.

    A snapshot of layout interpreter writes the outputs of unseen programs instead.
    """
    from karel_fast.analysis.outcome import evaluation_lines
    from karel_fast.data import generate
    from karel_fast.data.tokens.interpreter import make_tokenizer
    from karel_fast.runs.origin import model_folder, origin
    from karel_fast.runs.snapshots import list_snapshots
    from karel_fast.support.files import check_apart, check_file, write_text
    from karel_fast.training.by_settings import metrics_by_settings

    check_apart({"--output": output}, {"--data": data, "--recipe": recipe})
    if output is not None:
        check_file("--output", output)  # it is written after minutes
    if data is not None:
        for name in ("split", "specifications", "on_the_way", "shortest"):
            if getattr(config, name) != getattr(EvaluationConfig(), name):
                raise InputError(
                    f"--{name.replace('_', '-')} is about specifications that are drawn; leave it out, or --data"
                )
    if every_snapshot:
        for option, value in (
            ("--recipe", recipe),
            ("--layout", layout),
            ("--any-recipe", any_recipe),
            ("--data", data),
        ):
            if value:
                raise InputError(
                    f"{option}: --every-snapshot is of the run's own specifications; leave out one of them"
                )
        if output is not None:
            raise InputError("--output: --every-snapshot keeps its results in the run's folder; leave out one of them")
        _every_snapshot(snapshot, config, decoding, as_json)
        return
    snapshot = model_folder(snapshot)
    chosen, layout = origin(snapshot, None if recipe is None else read_recipe(recipe), layout)
    tokenizer = make_tokenizer(chosen, layout)
    # A snapshot between two others of its run is on the way.
    of_run = list_snapshots(snapshot.resolve().parent.parent)
    count = config.count(last=not of_run or snapshot.resolve().name == of_run[-1].name)
    samples = (
        generate(chosen.with_shortest(config.shortest), split=config.split, start=config.start, count=count)
        if data is None
        else _of_file(data, chosen, config.start)
    )
    metrics = metrics_by_settings(snapshot, tokenizer, samples, config, decoding, any_recipe=any_recipe)
    source = {"split": config.split} if data is None else {"data": str(data)}
    text = json.dumps({"snapshot": str(snapshot), **source, "start": config.start, **metrics}, indent=2)
    if as_json:
        typer.echo(text)
    else:
        of = f"{config.split}, from {config.start}" if data is None else str(data)
        typer.echo(f"{snapshot}: {metrics['samples']} specifications ({of}), in %")
        for line in columns(evaluation_lines(metrics), aligned="lrl"):
            typer.echo("  " + line)
        typer.echo("--json has all measures.")
    if output is not None:
        write_text(output, text + "\n")


def _every_snapshot(run: Path, config: EvaluationConfig, decoding: DecodingConfig, as_json: bool) -> None:
    """Evaluate all snapshots of a run, with a bar, and print a line for each."""
    from karel_fast.analysis.outcome import snapshot_lines
    from karel_fast.data.tokens.interpreter import make_tokenizer
    from karel_fast.runs.contents import read_result
    from karel_fast.runs.origin import origin
    from karel_fast.runs.snapshots import choose_snapshots
    from karel_fast.training.kept_evaluation import evaluate_snapshot

    snapshots = choose_snapshots(run)
    tokenizer = make_tokenizer(*origin(snapshots[-1]))
    written = []
    with Progress() as progress:
        bar = progress.bar("snapshots evaluated", len(snapshots))
        for snapshot in snapshots:
            written.append(evaluate_snapshot(run, snapshot, tokenizer, config, decoding))
            bar.advance()
    found = [{"path": str(path), **read_result(path, "evaluation")} for path in written]
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    tell_beside(run, written)
    typer.echo(f"{run}: specifications of {config.split}, from {config.start}; shares in %")
    for line in columns(snapshot_lines(found), left=0):
        typer.echo(line)
    for folder in dict.fromkeys(path.parent for path in written):
        typer.echo(str(folder))


def _of_file(path: Path, recipe: Recipe, start: int) -> Samples:
    """The specifications of a file, all from the first on."""
    from karel_fast.data import import_for

    samples = import_for(recipe, path)
    if start >= len(samples):
        raise InputError(f"--start {start}: {path} holds {len(samples)} records, from 0")
    return samples[start:]
