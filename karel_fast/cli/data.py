"""The commands `karel-fast generate`, `karel-fast verify` and `karel-fast trace`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from karel_fast.cli.numbers import decimal_option, whole_option
from karel_fast.cli.options import SEMANTICS_HELP, Address, Backend, Engine, Threads, check_engine
from karel_fast.data.storage.shards_writing import SHARD_SIZE
from karel_fast.support.checks import InputError, one_of, whole
from karel_fast.support.files import check_apart, check_file, read_text
from karel_fast.support.progress import Progress

if TYPE_CHECKING:
    from karel_fast.data.sampling.recipe import Recipe


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("generate")(generate_command)
    app.command("verify")(verify_command)
    app.command("trace")(trace_command)


def generate_command(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for the shards, where a run that was killed goes on; or the file, for another --format."
        ),
    ],
    count: Annotated[int, whole_option("How many samples.")],
    recipe: Annotated[str, typer.Option(help="A preset's name or a recipe's JSON file.")] = "paper",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "train",
    seed: Annotated[int | None, whole_option("Of the recipe; default: its own.", least=0)] = None,
    shard_size: Annotated[int, whole_option("Samples per shard.")] = SHARD_SIZE,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="parquet: shards; or one file: text (as people read it), jsonl (the original's records), msr (the MSR data set's).",
        ),
    ] = "parquet",
    start: Annotated[int, whole_option("First sample of a file; shards begin at 0.", least=0)] = 0,
    card: Annotated[
        bool,
        typer.Option(
            "--card",
            help='Also write README.md, a data set card for the Hugging Face Hub; pandas then wants ignore_prefixes=[".", "README"].',
        ),
    ] = False,
    traces: Annotated[bool, typer.Option("--traces", help="Also store every step of every run.")] = False,
    semantics: Annotated[
        str | None, typer.Option(help=f"For --traces; by default the recipe's. {SEMANTICS_HELP}")
    ] = None,
    shards: Annotated[str, typer.Option(help="k/n writes the k-th of n slices only, for job arrays.")] = "1/1",
    engine: Engine = "local",
    address: Address = None,
    backend: Backend = None,
    threads: Threads = None,
) -> None:
    """Write a data set as Parquet shards, or samples as one file of another format."""
    from karel_fast.data.storage.card import check_card, write_card
    from karel_fast.data.storage.shards_on_ray import write_shards_ray
    from karel_fast.data.storage.shards_writing import write_shards

    chosen = read_recipe(recipe)
    chosen = chosen if seed is None else chosen.replace(seed=seed)
    if semantics is not None and not traces:
        raise ValueError("--semantics says how to trace: give --traces too")
    if one_of("--format", format_, ("parquet", *FILES)) != "parquet":
        for option, asked in (
            ("--traces", traces),
            ("--card", card),
            ("--shards", shards != "1/1"),
            ("--engine", engine != "local"),
            ("--address", address is not None),
            ("--shard-size", shard_size != SHARD_SIZE),
        ):
            if asked:
                raise InputError(f"{option} is of a folder of shards: leave it out, or --format {format_}")
        check_apart({"--out": out}, {"--recipe": recipe})
        check_file("--out", out)
        whole("count", count, 1)
        _write_file(format_, chosen, split, start, count, out, backend, threads)
        typer.echo(str(out))
        return
    if start:
        raise InputError("--start is of one file: shards begin at 0, or give --format text, jsonl or msr")
    check_engine(engine, address)
    traced = (semantics or chosen.semantics) if traces else None
    part = part_of(shards)
    if card:
        check_card(out)
    with Progress(unit="samples") as shown:
        progress = shown.bar("generate").show
        if engine == "ray":
            if part != (1, 1) or threads is not None:
                raise ValueError("--engine ray shares the shards out itself: leave out --shards and --threads")
            write_shards_ray(
                chosen, split, out, count=count, shard_size=shard_size, traces=traced, address=address, backend=backend,
                progress=progress,
            )  # fmt: skip
        else:
            write_shards(
                chosen, split, out, count=count, shard_size=shard_size, traces=traced, part=part, backend=backend,
                threads=threads, progress=progress,
            )  # fmt: skip
    if card:
        write_card(out)
    typer.echo(str(out))


FILES = ("text", "jsonl", "msr")


def _write_file(
    kind: str, recipe: Recipe, split: str, start: int, count: int, path: Path, backend: str | None, threads: int | None
) -> None:
    from karel_fast.data import export_jsonl, export_text, generate, msr_samples, write_msr

    try:
        if kind == "msr":
            write_msr(path, *msr_samples(recipe, split, start, count, backend=backend, threads=threads))
        else:
            samples = generate(recipe, split, start, count, backend=backend, threads=threads)
            {"text": export_text, "jsonl": export_jsonl}[kind](samples, path)
    except MemoryError as error:
        raise InputError(
            f"--count {count}: so many samples of one file do not fit into memory ({error}); give fewer, or --format parquet"
        ) from error


def verify_command(
    folder: Annotated[Path, typer.Argument(help="Folder of shards, a run's folder, a snapshot or a table.")],
    fraction: Annotated[float, decimal_option("How much of the shards to look at, up to 1 for all.")] = 1.0,
    repair: Annotated[bool, typer.Option("--repair", help="Make shards that are missing or wrong again.")] = False,
    backend: Backend = None,
    threads: Threads = None,
) -> None:
    """Look for damage: generate shards again and compare, or compare a run's files with their checksums.

    The first wrong row of shards is named. Of a run, so is every file that does not match its checksum, that a file's checksums
    name and is missing, and every damaged line of the training log.
    """
    from karel_fast.data.storage.manifest import manifest_file
    from karel_fast.data.storage.shards_verifying import verify

    if not folder.exists():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    if not manifest_file(folder).is_file() and not any(folder.glob("shard-*.parquet")):
        if repair:
            raise InputError(f"{folder}: --repair is for shards; restore a run's files from a copy, or make them again")
        for option, asked in (
            ("--fraction", fraction != 1),
            ("--backend", backend is not None),
            ("--threads", threads is not None),
        ):
            if asked:
                raise InputError(f"{folder}: {option} is for shards; of a run all files are compared: leave it out")
        _verify_run(folder)
        return
    with Progress(unit="samples") as shown:
        progress = shown.bar("verify").show
        verified = verify(folder, fraction=fraction, repair=repair, backend=backend, threads=threads, progress=progress)
    made = f", {len(verified.repaired)} of them made again" if verified.repaired else ""
    typer.echo(f"{folder}: {verified.rows} rows in {verified.shards} shards are right{made}")


def _verify_run(folder: Path) -> None:
    from karel_fast.runs.verifying import verify_folder

    found = verify_folder(folder)
    unsealed = f"; {len(found.unsealed)} were written without one" if found.unsealed else ""
    typer.echo(f"{folder}: {found.right} files match their checksums{unsealed}")
    if found.problems:
        raise InputError("\n".join(found.problems))
    if not found.right:
        raise InputError(f"{folder}: no file has a checksum, so nothing could be compared; compare it with a copy")


def trace_command(
    source: Annotated[Path, typer.Argument(help="Programs and worlds: .jsonl or .parquet with code, input0, ..")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    semantics: Annotated[str, typer.Option(help=SEMANTICS_HELP)] = "original",
    max_steps: Annotated[int, whole_option("Actions a run may take.")] = 1000,
    on_error: Annotated[str, typer.Option(help="ignore or crash.")] = "ignore",
    backend: Backend = None,
    threads: Threads = None,
) -> None:
    """Run programs of one's own and store every step of every run."""
    from karel_fast.data.storage.tracing import trace_file

    check_file("--out", out)
    runs = trace_file(
        source, out, semantics=semantics, max_steps=max_steps, on_error=on_error, backend=backend, threads=threads
    )
    typer.echo(f"{out}: {runs} runs")


def read_recipe(name: str) -> Recipe:
    """A recipe preset by name, or a recipe from a JSON file, or the JSON text itself."""
    from karel_fast.data.sampling.recipe import Recipe

    if name.startswith("{"):
        return Recipe.from_json(name)
    path = Path(name)
    if path.suffix == ".json" or path.is_file():
        text = read_text(path)
        try:
            return Recipe.from_json(text)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: {error}") from error
    return Recipe.preset(name)


def part_of(text: str) -> tuple[int, int]:
    """k and n of k/n. ValueError for text that is none."""
    k, slash, n = text.partition("/")
    if not (slash and k.isdecimal() and n.isdecimal()):
        raise ValueError(f"--shards {text!r} is no slice: give k/n, for example 1/16")
    return int(k), int(n)
