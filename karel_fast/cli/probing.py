"""The commands `karel-fast probe` and `karel-fast steer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from karel_fast.support.memory import freed_memory_kept

if TYPE_CHECKING:
    from rich.progress import Progress

    from karel_fast.probing.snapshot import ProbeRun

# torch takes seconds to load, so the command imports what it needs when it runs.


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("probe")(probe_command)
    app.command("steer")(steer_command)


@freed_memory_kept()
def probe_command(
    run: Annotated[Path, typer.Argument(help="Folder of the run, with its snapshots.")],
    step: Annotated[list[int] | None, typer.Option(help="Only the snapshot of this step; may be repeated.")] = None,
    train: Annotated[int, typer.Option(help="Programs written for training specifications.")] = 16_000,
    validation: Annotated[int, typer.Option(help="Programs for validation specifications.")] = 1_600,
    test: Annotated[int, typer.Option(help="Programs for test specifications.")] = 1_600,
    features: Annotated[str, typer.Option(help="Comma-separated features.")] = "direction,position,facing",
    depths: Annotated[str, typer.Option(help="Comma-separated: linear, mlp1, mlp2.")] = "linear,mlp1,mlp2",
    offsets: Annotated[str, typer.Option(help="Comma-separated: states before (-) or after (+).")] = "-2,-1,0,1,2",
    semantics: Annotated[
        str, typer.Option(help="Comma-separated names; or written>performed pairs joined by +.")
    ] = "original,flip,adversarial",
    layers: Annotated[str, typer.Option(help="mean, all, or comma-separated states (0: the embedding).")] = "mean",
    seeds: Annotated[int, typer.Option(help="Probe seeds: 0 up to this.")] = 5,
    programs: Annotated[str, typer.Option(help="all, correct or wrong programs.")] = "all",
    max_rows: Annotated[int, typer.Option(help="Most training rows (a tenth for validation and test).")] = 100_000,
    epochs: Annotated[int, typer.Option(help="Epochs of probe training.")] = 6,
    least_steps: Annotated[
        int, typer.Option(help="Least steps of probe training: few rows are gone through more often.")
    ] = 1000,
    untrained: Annotated[bool, typer.Option(help="Also probe an untrained model's states.")] = True,
    shuffled: Annotated[bool, typer.Option(help="Also train probes on shuffled labels.")] = True,
    examples: Annotated[int, typer.Option(help="Specifications drawn for the report.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, bf16 or fp32, of decoding and of the probes' products.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(help="Programs decoded together.")] = 256,
    compile: Annotated[bool, typer.Option(help="Compile decoding; not worth its minute for few programs.")] = True,
    reference: Annotated[
        bool, typer.Option(help="Probe the states of reading the reference programs (results: RUN/latent/..).")
    ] = False,
    withhold: Annotated[
        str | None, typer.Option(help="With --reference: input or space in place of the specifications' outputs.")
    ] = None,
    closer: Annotated[
        bool, typer.Option(help="Keep the results apart (RUN/closer): the report's figures of one snapshot use them.")
    ] = False,
    train_actions: Annotated[
        str | None, typer.Option(help="Learn on these positions in the program only, comma-separated, from 0.")
    ] = None,
    test_actions: Annotated[str | None, typer.Option(help="Choose the epoch and test on these positions only.")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: snapshots over a cluster.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster; without one a local Ray starts.")] = None,
) -> None:
    """Train probes on the hidden states of a run's snapshots; goes on where it stopped."""
    import torch

    from karel_fast.model.device import resolve_device, resolve_precision
    from karel_fast.probing.experiments import Grid
    from karel_fast.probing.probes.training import DEPTHS, ProbeConfig
    from karel_fast.probing.snapshot import ProbeRun, snapshots_of

    unknown = [d for d in names(depths) if d not in DEPTHS]
    if unknown:
        raise ValueError(f"unknown depth {unknown[0]!r}; the depths are {', '.join(DEPTHS)}")
    if engine not in ("local", "ray"):
        raise ValueError(f"unknown engine {engine!r}; use local or ray")
    if batch_size < 1:
        raise ValueError(f"batch-size must be at least 1, got {batch_size}")
    if address is not None and engine != "ray":
        raise ValueError("--address is a Ray cluster's: give --engine ray too")
    actions: dict[str, tuple[int, ...]] = {}
    if train_actions is not None:
        actions["train"] = numbers(train_actions, "train-actions")
    if test_actions is not None:
        actions["validation"] = actions["test"] = numbers(test_actions, "test-actions")
    place = resolve_device(device)
    dtype = resolve_precision(precision, place)
    what = ProbeRun(
        grid=Grid(
            features=names(features),
            depths={depth: DEPTHS[depth] for depth in names(depths)},
            offsets=numbers(offsets, "offsets"),
            semantics=names(semantics),
            seeds=tuple(range(seeds)),
            programs=programs,
            max_rows={"train": max_rows, "validation": max(1, max_rows // 10), "test": max(1, max_rows // 10)},
            shuffled=shuffled,
            actions=actions,
        ),
        config=ProbeConfig(
            epochs=epochs, least_steps=least_steps, precision="bfloat16" if dtype == torch.bfloat16 else "float32"
        ),
        programs={"train": train, "validation": validation, "test": test},
        layers=layers if layers in ("mean", "all") else numbers(layers, "layers"),
        untrained=untrained,
        examples=examples,
        programs_from="reference" if reference else "written",
        withhold=withhold,
        closer=closer,
    )
    settings = {"device": str(place), "dtype": dtype, "batch_size": batch_size, "compile_model": compile}
    found = snapshots_of(run, step)
    written = _on_ray(run, found, what, settings, address) if engine == "ray" else _here(run, found, what, settings)
    for path in written:
        typer.echo(str(path))


@freed_memory_kept()
def steer_command(
    run: Annotated[Path, typer.Argument(help="Folder of the run, with its snapshots.")],
    step: Annotated[list[int] | None, typer.Option(help="Only the snapshot of this step; may be repeated.")] = None,
    layers: Annotated[str, typer.Option(help="all, or comma-separated states to edit (0: the embedding).")] = "all",
    train: Annotated[int, typer.Option(help="Programs the probe learns on.")] = 4_000,
    specifications: Annotated[int, typer.Option(help="Test specifications to write programs for.")] = 400,
    strength: Annotated[float, typer.Option(help="Of the edit; 1 swaps the probe's two answers.")] = 1.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[int, typer.Option(help="Programs decoded together.")] = 256,
    compile: Annotated[bool, typer.Option(help="Compile decoding; not worth its minute for few programs.")] = True,
) -> None:
    """Turn the robot in the hidden state, and see whether the program goes on as the turned robot needs."""
    from karel_fast.model.device import resolve_device
    from karel_fast.probing.snapshot import snapshots_of, steer_snapshot

    if batch_size < 1:
        raise ValueError(f"batch-size must be at least 1, got {batch_size}")
    chosen = None if layers == "all" else numbers(layers, "layers")
    for path in snapshots_of(run, step):
        written = steer_snapshot(
            run,
            path,
            layers=chosen,
            train=train,
            specifications=specifications,
            strength=strength,
            device=str(resolve_device(device)),
            batch_size=batch_size,
            compile_model=compile,
        )
        typer.echo(str(written))


def names(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str, what: str) -> tuple[int, ...]:
    """The integers of a comma-separated list. Raises ValueError, naming `what`."""
    try:
        return tuple(int(part) for part in names(text))
    except ValueError:
        raise ValueError(f"{what} must be comma-separated integers, got {text!r}") from None


def _here(run: Path, snapshots: Sequence[Path], what: ProbeRun, settings: dict[str, Any]) -> list[Path]:
    from karel_fast.probing.snapshot import probe_snapshot

    with _bar() as bar:
        all_tasks = bar.add_task("snapshots", total=len(snapshots))
        stage = bar.add_task("", total=None)

        def show(name: str) -> Callable[[str, int, int], None]:
            return lambda what, done, total: bar.update(
                stage, description=f"{name}: {what}", completed=done, total=total
            )

        written = []
        for path in snapshots:
            written.append(probe_snapshot(run, path, what, progress=show(path.name), **settings))
            bar.advance(all_tasks)
    return written


def _on_ray(
    run: Path, snapshots: Sequence[Path], what: ProbeRun, settings: dict[str, Any], address: str | None
) -> list[Path]:
    from karel_fast.probing.ray import probe_on_ray

    with _bar() as bar:
        task = bar.add_task("snapshots", total=len(snapshots))
        return probe_on_ray(
            run,
            snapshots,
            what,
            settings,
            address=address,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _bar() -> Progress:
    """On standard error; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
