"""The commands `karel-fast train` and `karel-fast evaluate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from karel_fast.support.memory import freed_memory_kept

# torch and transformers take seconds to load, so each command imports what it needs when it runs.


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("train")(train_command)
    app.command("evaluate")(evaluate_command)


@freed_memory_kept()
def train_command(
    run: Annotated[Path, typer.Argument(help="Folder of the run: snapshots, metrics, settings.")],
    recipe: Annotated[str, typer.Option(help="Recipe: a preset's name or a JSON file.")] = "paper",
    shards: Annotated[
        Path | None, typer.Option(help="Train on this data set on disk instead, and on its recipe.")
    ] = None,
    layout: Annotated[str, typer.Option(help="compact or reference.")] = "compact",
    samples: Annotated[
        int, typer.Option(help="Training samples, used over and over; 0: never the same one twice.")
    ] = 0,
    layers: Annotated[int, typer.Option(help="Blocks of the model.")] = 4,
    width: Annotated[int, typer.Option(help="Width of the residual stream.")] = 256,
    heads: Annotated[int, typer.Option(help="Attention heads, a multiple of 4.")] = 4,
    steps: Annotated[int, typer.Option(help="Optimizer updates.")] = 2000,
    batch_size: Annotated[int, typer.Option(help="Rows per update, over all processes.")] = 32,
    accumulate: Annotated[int, typer.Option(help="Pieces each update is taken in.")] = 1,
    optimizer: Annotated[str, typer.Option(help="muon or adamw.")] = "muon",
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    schedule: Annotated[str, typer.Option(help="wsd, cosine, linear or constant.")] = "wsd",
    warmup: Annotated[int, typer.Option(help="Updates until the peak rate.")] = 100,
    loss: Annotated[str, typer.Option(help="all tokens, outputs (and the program), or program only.")] = "all",
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    snapshot_every: Annotated[int, typer.Option(help="Updates between snapshots.")] = 500,
    log_every: Annotated[int, typer.Option(help="Updates between reports.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the initial weights.")] = 0,
    compile: Annotated[bool, typer.Option(help="Compile the training step.")] = True,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard files, too.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on from the run's last saved state.")] = False,
) -> None:
    """Train a model from scratch on programs of a recipe, or resume a run.

    Ctrl-C or SIGTERM ends it at the next report, with its state saved and exit code 130. Under torchrun every process
    takes its share of each batch.
    """
    from karel_fast.data import Tokenizer, open_shards
    from karel_fast.model import model_config
    from karel_fast.support.interrupt import StopSignals
    from karel_fast.training import TrainConfig, train
    from karel_fast.training.rows import generated_rows, shard_rows

    data = None if shards is None else open_shards(shards)
    chosen = read_recipe(recipe) if data is None else data.recipe
    tokenizer = Tokenizer(chosen, layout=layout)
    limit = samples or (None if data is None else len(data))
    config = TrainConfig(
        steps=steps,
        batch_size=batch_size,
        accumulate=accumulate,
        optimizer=optimizer,  # type: ignore[arg-type]
        lr=lr,
        schedule=schedule,  # type: ignore[arg-type]
        warmup=warmup,
        loss=loss,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
        device=device,
        snapshot_every=snapshot_every,
        log_every=log_every,
        seed=seed,
        compile=compile,
        tensorboard=tensorboard,
    )
    shape = model_config(
        tokenizer.vocab_size,
        tokenizer.sequence_length,
        layers=layers,
        width=width,
        heads=heads,
        prompt_length=tokenizer.prompt_length,
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.end_id,
    )
    rows = generated_rows(chosen, tokenizer, limit=limit) if data is None else shard_rows(data, tokenizer, limit)
    with TrainingBar(steps) as bar, StopSignals() as signals:
        result = train(
            config,
            shape,
            rows,
            run,
            pad_id=tokenizer.pad_id,
            tokenizer=tokenizer,
            recipe=chosen.to_json(),
            layout=layout,
            samples=limit or 0,
            resume=resume,
            progress=bar,
            stop=lambda _: signals.asked,
        )
    if result.step < steps:
        typer.echo(f"{run}: stopped after {result.step} of {steps} updates; --resume goes on", err=True)
        raise typer.Exit(130)
    typer.echo(str(result.snapshots[-1]))


@freed_memory_kept()
def evaluate_command(
    snapshot: Annotated[Path, typer.Argument(help="A snapshot folder, or a run's folder: its last snapshot.")],
    recipe: Annotated[
        str | None, typer.Option(help="Recipe: a preset's name or a JSON file (default: the snapshot's own).")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="compact or reference (default: the snapshot's own).")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    start: Annotated[int, typer.Option(help="First sample.")] = 0,
    count: Annotated[int, typer.Option(help="Number of samples.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Rows decoded together.")] = 256,
    free: Annotated[bool, typer.Option(help="Also decode without the grammar, for the parse rate.")] = True,
    any_recipe: Annotated[bool, typer.Option(help="Let the recipe differ from the snapshot's.")] = False,
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    compile: Annotated[bool, typer.Option(help="Compile the decoding.")] = True,
    output: Annotated[Path | None, typer.Option(help="Write the metrics to this JSON file, too.")] = None,
) -> None:
    """Let a snapshot write programs for unseen specifications and print how many satisfy them."""
    from karel_fast.data import Recipe, Tokenizer, generate
    from karel_fast.runs.snapshots import list_snapshots, read_card, write_text
    from karel_fast.training.evaluate import evaluate

    if snapshots := list_snapshots(snapshot):
        snapshot = snapshots[-1]
    if recipe is None or layout is None:
        card = read_card(snapshot)
        if not card.get("recipe"):
            raise ValueError(f"{snapshot} does not say what it was trained on: give --recipe and --layout")
    chosen = read_recipe(recipe) if recipe is not None else Recipe.from_json(card["recipe"])
    tokenizer = Tokenizer(chosen, layout=layout or card["layout"])
    samples = generate(chosen, split=split, start=start, count=count)
    result = evaluate(
        snapshot,
        tokenizer,
        samples,
        free=free,
        batch_size=batch_size,
        device=device,
        precision=precision,
        any_recipe=any_recipe,
        compile_model=compile,
    )
    text = json.dumps({"snapshot": str(snapshot), "split": split, "start": start, **result.metrics}, indent=2)
    typer.echo(text)
    if output is not None:
        write_text(output, text + "\n")


def read_recipe(name: str) -> Any:
    """A recipe preset by name, or a recipe from a JSON file."""
    from karel_fast.data import Recipe

    path = Path(name)
    if path.suffix == ".json" or path.is_file():
        return Recipe.from_json(path.read_text())
    return Recipe.preset(name)


class TrainingBar:
    """A progress bar on stderr with loss, tokens/s and MFU; plain lines where there is no terminal. Call it with each
    Report.
    """

    def __init__(self, steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task("train", total=steps, now="compiling")

    def __enter__(self) -> TrainingBar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, report: Any) -> None:
        mfu = "" if report.mfu is None else f"  {report.mfu:.0%} MFU"
        now = f"loss {report.loss:.4f}  {report.tokens_per_second:,.0f} tokens/s{mfu}"
        self.progress.update(self.task, completed=report.step, now=now)
        if not self.console.is_terminal:
            print(f"step {report.step}  {now}", file=sys.stderr, flush=True)
