"""What `solve` finds for many of a split's specifications, as Parquet files: in slices, resumed, and on Ray, always the same values.

    FOLDER/solved-00000.parquet   one row per specification, of the columns in COLUMNS

A file states in its metadata which recipe, split and samples it is of, and is put in place only when it is whole. So what a
killed call has written stays, and nothing else needs to be kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from karel_fast.data.sampling.generation import check_set, check_threads, generate
from karel_fast.data.sampling.philox import GENERATOR_VERSION
from karel_fast.data.sampling.recipe import Recipe, split_code
from karel_fast.exact.ideal_loss import floor
from karel_fast.exact.problem import Prior
from karel_fast.exact.solution import solve
from karel_fast.support.checks import InputError, one_line, one_of
from karel_fast.support.files import remove_leftovers, write_whole
from karel_fast.support.locks import locked
from karel_fast.support.ray import connected, results
from karel_fast.support.slices import slice_of

SHARD_SIZE = 5_000
REMEDY = "delete it and solve again into the same folder"

COLUMNS = (
    "sample", "counts", "mass", "shortest", "shortest_counts", "entropy", "mode_mass", "generalises", "mode_generalises", "states",
    "floor_loss", "tokens",
)  # fmt: skip
"""sample: int64, its number in the split. floor_loss: nats, what the ideal reader loses on all `tokens` tokens of the sample's own
program (its actions and its end). The others are fields of `Solution`."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SolutionSet:
    """Samples start .. start + count - 1 of a split, in files of shard_size."""

    recipe: Recipe
    split: str
    count: int
    start: int = 0
    shard_size: int = SHARD_SIZE

    def __post_init__(self) -> None:
        Prior.of(self.recipe)
        split_code(self.split)
        check_set(self.count, self.shard_size, self.start)

    @property
    def shards(self) -> int:
        return -(-self.count // self.shard_size)

    def rows(self, shard: int) -> tuple[int, int]:
        """First sample of a file, and how many it has."""
        first = shard * self.shard_size
        return self.start + first, min(self.shard_size, self.count - first)

    def metadata(self) -> dict[str, Any]:
        """What every file states."""
        return {
            "recipe": json.loads(self.recipe.to_json()),
            "split": self.split,
            "start": self.start,
            "count": self.count,
            "shard_size": self.shard_size,
            "generator_version": GENERATOR_VERSION,
        }


def write_solutions(
    wanted: SolutionSet,
    directory: str | Path,
    *,
    part: tuple[int, int] = (1, 1),
    engine: str = "local",
    address: str | None = None,
    retries: int = 3,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Solve the specifications of a set, or those whose files are not there yet.

    part: (k, n) solves the k-th (from 1) of n slices of the files; slices may run at once, anywhere. engine: "local", on `threads`
    threads; or "ray", every file a task on one processor that is tried again when its worker dies (address: as
    `karel_fast.support.ray.connected` takes it). The values depend on none of these. progress: called with (specifications done,
    to do in all) after every file.

    Raises InputError where the folder holds solutions of other samples or a damaged file, BlockingIOError where another process
    writes the same slice, ValueError as `solve` does, and WorkerLost.
    """
    one_of("engine", engine, ("local", "ray"))
    mine = slice_of(wanted.shards, part)
    k, n = part
    folder = Path(directory).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    tag = f"{k}-of-{n}"
    workers = check_threads(threads)
    with locked(folder / f".solving-{tag}.lock", f"{folder}: another process is solving part {k}/{n}: wait for it"):
        remove_leftovers(folder, tag)
        todo = [shard for shard in mine if not _is_there(wanted, folder, shard)]
        total = sum(wanted.rows(shard)[1] for shard in mine)
        done = total - sum(wanted.rows(shard)[1] for shard in todo)
        if progress:
            progress(done, total)
        ended = (
            _on_ray(wanted, folder, todo, tag, address, retries)
            if engine == "ray"
            else _here(wanted, folder, todo, tag, workers)
        )
        for shard in ended:
            done += wanted.rows(shard)[1]
            if progress:
                progress(done, total)


def _here(wanted: SolutionSet, folder: Path, todo: Sequence[int], tag: str, threads: int) -> Iterator[int]:
    for shard in todo:
        _write_shard(wanted, folder, shard, tag, threads)
        yield shard


def _on_ray(
    wanted: SolutionSet, folder: Path, todo: Sequence[int], tag: str, address: str | None, retries: int
) -> Iterator[int]:
    with connected(address) as ray:
        task = ray.remote(num_cpus=1, max_retries=retries)(_write_shard)
        start = lambda shard: task.remote(wanted, folder, shard, tag, 1)  # noqa: E731
        for shard, _, error in results(ray, start, todo):
            if error is not None:
                raise error
            yield shard


def _write_shard(wanted: SolutionSet, folder: Path, shard: int, tag: str, threads: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {"karel_fast": json.dumps(wanted.metadata(), sort_keys=True)}
    table = pa.table(_solved(wanted, *wanted.rows(shard), threads)).replace_schema_metadata(metadata)
    write_whole(
        folder / _file(shard),
        lambda path: pq.write_table(table, path, compression="zstd", write_page_checksum=True),
        tag,
    )


def _solved(wanted: SolutionSet, start: int, count: int, threads: int) -> dict[str, np.ndarray]:
    samples = generate(wanted.recipe, wanted.split, start, count, threads=threads)
    try:
        solution = solve(samples, threads=threads)
    except InputError as error:
        raise InputError(f"of the specifications from {start} on, counted from 0: {error}") from error
    columns = {name: getattr(solution, name) for name in COLUMNS if hasattr(solution, name)}
    columns["sample"] = np.arange(start, start + count)
    columns["floor_loss"] = np.nansum(floor(samples, solution).loss, axis=1)
    columns["tokens"] = samples.lengths + 1
    return {name: columns[name] for name in COLUMNS}


def _file(shard: int) -> str:
    return f"solved-{shard:05d}.parquet"


def _is_there(wanted: SolutionSet, folder: Path, shard: int) -> bool:
    """Whether the file is there. InputError if it is of another set, or damaged."""
    path = folder / _file(shard)
    if not path.exists():
        return False
    stated = _metadata(path)
    if differ := [name for name, value in wanted.metadata().items() if stated.get(name) != value]:
        raise InputError(f"{path} is of other specifications (another {', '.join(differ)}): choose another folder")
    _read(path)
    return True


def _metadata(path: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        stated = json.loads((pq.read_schema(path).metadata or {})[b"karel_fast"])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is no file of solutions ({one_line(error)}): {REMEDY}") from error
    if not isinstance(stated, dict):
        raise InputError(f"{path} is no file of solutions (its metadata are a {type(stated).__name__}): {REMEDY}")
    for name in ("count", "shard_size"):
        if not isinstance(stated.get(name), int) or stated[name] < 1:
            raise InputError(
                f"{path} is no file of solutions (its metadata's {name} is {stated.get(name)!r}): {REMEDY}"
            )
    return stated


def _read(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({one_line(error)}): {REMEDY}") from error


def read_solutions(directory: str | Path) -> Any:
    """A `pyarrow.Table` of a folder that `write_solutions` has completed, in the order of the samples.

    Raises FileNotFoundError for a folder without solutions, InputError for a file that is damaged, missing, or of another set.
    """
    folder = Path(directory)
    import pyarrow as pa

    paths = sorted(folder.glob("solved-*.parquet"))
    if not paths:
        raise FileNotFoundError(f"{folder}: holds no solved-*.parquet; write_solutions makes them")
    stated = _metadata(paths[0])
    expected = [folder / _file(shard) for shard in range(-(-stated["count"] // stated["shard_size"]))]
    for path in expected:
        if not path.exists():
            raise InputError(f"{path} is missing: solve again into the same folder")
        if _metadata(path) != stated:
            raise InputError(f"{path} is of other specifications than {paths[0].name}: {REMEDY}")
    return pa.concat_tables([_read(path) for path in expected])
