"""Reading and writing the original authors' JSON lines: input0, output0, input1, .. (worlds as text) and code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from karel_fast.data.sampling.recipe import SPLITS, ControlFlow, Recipe, check_recipe
from karel_fast.data.sampling.samples import Samples
from karel_fast.data.sampling.symbols import (
    CLOSE,
    CONDITION,
    COUNT,
    ELSE,
    IF,
    IFELSE,
    NOT,
    OPEN,
    PAD,
    REPEAT,
    WHILE,
    pad_rows,
    to_symbols,
)
from karel_fast.data.tokens.symbol_grammar import first_misfit
from karel_fast.karel.execution import run
from karel_fast.karel.language import CompiledPrograms, Program, Semantics, compile, parse
from karel_fast.karel.status import Status
from karel_fast.karel.world import Worlds
from karel_fast.support.checks import InputError, one_line, one_of, whole
from karel_fast.support.files import as_text, lines_of, parse_json, write_whole

CHUNK = 2048  # lines or samples handled at a time

# The original's pretty-printer drops the semicolon between a block and the statement after it.
_LOST_SEMICOLON = re.compile(r"\}(\s*)(?=[a-z])(?!else\b)")


@dataclass(frozen=True)
class Records:
    """n programs (none if they were not asked for), `worlds` of batch n*E (example-minor), and the outputs' texts if the
    file has them (else empty). examples: E. lines: the n records' numbers in the file, from 1.
    """

    programs: list[Program]
    worlds: Worlds
    outputs: list[str]
    examples: int
    lines: list[int]


def read_records(path: str | Path, code: bool = True) -> Records:
    """Programs and worlds from a .jsonl (or .jsonl.gz) or .parquet file with the columns code, input0, input1, .. (output0, ..).

    code: whether each record must have a program; else none is read. ValueError names the line (from 1), and the world, at fault. All
    records must have equally many worlds, of one size.
    """
    path = Path(path)
    programs: list[Program] = []
    worlds: list[Worlds] = []
    outputs: list[str] = []
    lines: list[int] = []
    rows = _parquet_rows(path) if _is_parquet(path) else json_rows(path)
    names: tuple[list[str], list[str]] | None = None
    while chunk := list(islice(rows, CHUNK)):
        texts: list[str] = []
        for line, record in chunk:
            where = f"{path}, line {line}"
            if names is None:
                names = _names(record, where)
            wanted = ("code", *names[0], *names[1]) if code else (*names[0], *names[1])
            missing = [name for name in wanted if not isinstance(record.get(name), str)]
            if missing:
                raise ValueError(f"{where}: no text {missing[0]}")
            for kind, known in zip(("input", "output"), names, strict=True):
                if len(_numbered(record, kind, where)) != len(known):
                    raise ValueError(f"{where}: another number of {kind}s than in the first record ({len(known)})")
            if code:
                try:
                    programs.append(parse(_LOST_SEMICOLON.sub(r"};\1", record["code"])))
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from error
            lines.append(line)
            texts += [record[name] for name in names[0]]
            outputs += [record[name] for name in names[1]]
        try:
            worlds.append(Worlds.from_text(texts))
        except ValueError as error:
            assert names is not None
            _name_world(path, chunk, names[0])
            raise ValueError(f"{path}, lines {chunk[0][0]}..{chunk[-1][0]}: {error}") from error
    if names is None:
        raise ValueError(f"{path} holds no records")
    sizes = {(part.height, part.width) for part in worlds}
    if len(sizes) > 1:
        told = " and ".join(f"{height} x {width}" for height, width in sorted(sizes))
        raise ValueError(f"{path}: worlds of {told} cells; all records must have worlds of one size")
    return Records(programs, Worlds.concatenate(worlds), outputs, len(names[0]), lines)


def _name_world(path: Path, chunk: Sequence[tuple[int, dict[str, Any]]], names: Sequence[str]) -> None:
    """ValueError, naming line and world, if one of these worlds cannot be read by itself."""
    for line, record in chunk:
        for name in names:
            try:
                Worlds.from_text(record[name])
            except ValueError as error:
                raise ValueError(f"{path}, line {line}, {name}: {error}") from error


def _is_parquet(path: Path) -> bool:
    """Whether it is, by its first bytes: names differ."""
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1" or path.suffix.lower() == ".parquet"


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of a .jsonl or .jsonl.gz file that are not empty: number, from 1, and record. ValueError names one that is none."""
    for line, content in enumerate(lines_of(path), 1):
        where = f"{path}, line {line}"
        text = as_text(content, path if line == 1 else where)
        if not text.strip():
            continue
        record = parse_json(text, where)
        if not isinstance(record, dict):
            raise ValueError(f"{where}: a record must be a JSON object")
        yield line, record


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            line = 0
            for batch in file.iter_batches(CHUNK):
                for record in batch.to_pylist():
                    line += 1
                    yield line, record
    except (pa.ArrowException, OSError, ValueError) as error:  # pyarrow's own are of all three kinds
        raise ValueError(f"{path} is no readable Parquet file: {one_line(error)}") from error


def _numbered(record: dict[str, Any], kind: str, where: str) -> list[str]:
    names: list[str] = []
    while record.get(f"{kind}{len(names)}") is not None:
        names.append(f"{kind}{len(names)}")
    there = [name for name, value in record.items() if value is not None and re.fullmatch(rf"{kind}\d+", name)]
    if beyond := sorted(set(there) - set(names)):
        raise ValueError(f"{where}: it has {beyond[0]} and no {kind}{len(names)}; number them from 0 without a gap")
    return names


def _names(record: dict[str, Any], where: str) -> tuple[list[str], list[str]]:
    inputs, outputs = _numbered(record, "input", where), _numbered(record, "output", where)
    if not inputs:
        raise ValueError(f"{where}: no input0; a record has code, input0, input1, .. and perhaps output0, ..")
    if outputs and len(outputs) != len(inputs):
        raise ValueError(f"{where}: {len(inputs)} inputs but {len(outputs)} outputs")
    return inputs, outputs


def import_jsonl(
    path: str | Path,
    *,
    examples: int = 5,
    split: str = "train",
    semantics: str | Semantics = "original",
    max_steps: int = 1000,
) -> Samples:
    """The original's data as Samples, whose `.recipe` describes their shape.

    examples: how many of each record's worlds are shown; the rest are held out (all are shown where there are no more).
    The recipe's probabilities and weights are the paper's: nothing in a file says how it was drawn. Texts hide the
    markers under robots, so outputs are computed by running the programs, and compared with the file's as texts.

    ValueError, naming line and example, for a record that cannot be read, whose program does not come to its end within max_steps, or
    whose output is not what its program makes.
    """
    one_of("split", split, SPLITS)
    records = read_records(path)
    rows = [
        _symbols(program, f"{path}, line {line}") for line, program in zip(records.lines, records.programs, strict=True)
    ]
    shown = min(whole("examples", examples, 1), records.examples)
    recipe = _describe(rows, records, shown, semantics, path)
    for line, row in zip(records.lines, rows, strict=True):
        if (OPEN, CLOSE) in pairwise(row):
            raise ValueError(f"{path}, line {line}: a program with an empty block, which no recipe has; leave it out")
    symbols, lengths = pad_rows(rows, recipe.symbol_width)
    compiled = CompiledPrograms.from_actions(symbols, lengths) if recipe.straight_line else compile(records.programs)
    ran = run(compiled, records.worlds, semantics=recipe.semantics, max_steps=max_steps)
    for at in np.flatnonzero(ran.status != Status.OK)[:1]:
        record, example = divmod(int(at), records.examples)
        how = Status(ran.status[at]).name.lower().replace("_", " ")
        raise ValueError(
            f"{path}, line {records.lines[record]}: its program does not come to its end on input{example} within "
            f"max_steps={max_steps} ({how}), so it has no output"
        )
    if recipe.control is not None and (most := int(ran.steps.max())) > recipe.step_limit:
        recipe = recipe.replace(control=replace(recipe.control, max_steps=most))
    outputs = ran.worlds
    if records.outputs:
        for at, (made, stated) in enumerate(zip(outputs.to_text(), records.outputs, strict=True)):
            if made.splitlines() != stated.splitlines():
                record, example = divmod(at, records.examples)
                raise ValueError(
                    f"{path}, line {records.lines[record]}: output{example} is not what the program makes of its input"
                )
    return Samples(recipe, split, 0, symbols, lengths, records.worlds, outputs)


def _symbols(program: Program, where: str) -> list[int]:
    try:
        return to_symbols(program)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def import_for(recipe: Recipe, path: str | Path) -> Samples:
    """The records of a file as samples of a model's recipe, whose programs they need not be drawn from: its first recipe.examples
    worlds are shown, the others held out. Errors as `import_jsonl`, for programs that take more than recipe.step_limit actions among
    them; InputError for records that are not of the recipe's shape.
    """
    check_recipe(recipe)
    found = import_jsonl(path, examples=recipe.examples, semantics=recipe.semantics, max_steps=recipe.step_limit)
    theirs = found.recipe
    if (theirs.height, theirs.width) != (recipe.height, recipe.width):
        raise InputError(
            f"{path}: worlds of {theirs.height} x {theirs.width} cells; the model reads {recipe.height} x {recipe.width}"
        )
    if theirs.examples != recipe.examples:
        raise InputError(f"{path}: {theirs.examples} worlds in each record; the model reads {recipe.examples}")
    if recipe.straight_line and not theirs.straight_line:
        raise InputError(f"{path}: programs with control flow; the model writes straight-line ones")
    longest = int(found.lengths.max())
    if longest > recipe.symbol_width:
        record = int(found.lengths.argmax()) + 1
        raise InputError(
            f"{path}, record {record}: a program of length {longest}; the model's are at most {recipe.symbol_width} long"
        )
    for number, (row, length) in enumerate(zip(found.symbols, found.lengths, strict=True), 1):
        if (place := first_misfit(recipe, row[:length].tolist())) is not None:
            raise InputError(
                f"{path}, record {number}: word {place + 1} of its program, counted as the recipe's symbols, is none that the model's "
                "recipe has there; it could not be written"
            )
    symbols = np.full((len(found), recipe.symbol_width), PAD, np.uint8)
    symbols[:, :longest] = found.symbols[:, :longest]
    return replace(found, recipe=recipe.replace(held_out=theirs.held_out), split="test", symbols=symbols)


def import_specifications(path: str | Path, *, examples: int | None = None) -> tuple[Worlds, Worlds]:
    """(inputs, outputs) of a file's records, which need no code: n * E worlds each, example-minor.

    examples: only the first so many of each record. ValueError, naming the line, for a record that cannot be read; InputError
    for a file without outputs, or with fewer examples.
    """
    records = read_records(path, code=False)
    if not records.outputs:
        raise InputError(f"{path}: no output0; a specification has input0, output0, input1, output1, ..")
    count = records.examples if examples is None else whole("examples", examples, 1)
    if count > records.examples:
        raise InputError(f"{path}: {records.examples} examples in each record; asked for are {count}")
    try:
        outputs = Worlds.from_text(records.outputs)
    except ValueError as error:
        raise InputError(f"{path}: outputs: {error}") from error
    chosen = np.arange(len(outputs)).reshape(-1, records.examples)[:, :count].ravel()
    return records.worlds[chosen], outputs[chosen]


def _describe(
    rows: Sequence[Sequence[int]], records: Records, shown: int, semantics: str | Semantics, path: str | Path
) -> Recipe:
    statements = [sum(symbol < NOT and symbol != ELSE for symbol in row) for row in rows]
    used = np.zeros(256, bool)
    for row in rows:
        used[list(row)] = True
    try:
        return Recipe(
            height=records.worlds.height, width=records.worlds.width, examples=shown, held_out=records.examples - shown,
            lengths=(min(statements), max(statements)), control=_control(rows, used), semantics=semantics,  # type: ignore[arg-type]
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{path} cannot be described by a recipe: {error}") from error


def _control(rows: Sequence[Sequence[int]], used: np.ndarray) -> ControlFlow | None:
    """What control flow the programs have; None where they have none. used: bool (256,), the symbols that occur."""
    if not used[IF:].any():
        return None
    counts = np.flatnonzero(used[COUNT:])
    return ControlFlow(
        if_weight=int(used[IF]),
        ifelse_weight=int(used[IFELSE]),
        while_weight=int(used[WHILE]),
        repeat_weight=int(used[REPEAT]),
        condition_weights=(1, 1, 1, 1, 1) if used[CONDITION:OPEN].any() else (1, 0, 0, 0, 0),
        negate=bool(used[NOT]),
        depth=max(int(np.max(np.cumsum([(s == OPEN) - (s == CLOSE) for s in row]), initial=0)) for row in rows),
        repeat_counts=(int(counts.min()), int(counts.max())) if len(counts) else (2, 5),
    )


def export_jsonl(samples: Samples, path: str | Path) -> None:
    """Writes samples in the original's schema, one record a line; the file is put in place when it is complete."""

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8") as file:
            for start in range(0, len(samples), CHUNK):
                part = samples[start : start + CHUNK]
                count = part.recipe.worlds_per_sample
                before, after = part.inputs.to_text(), part.outputs.to_text()
                for i, program in enumerate(part.programs):
                    record = {}
                    for k in range(count):
                        record[f"input{k}"], record[f"output{k}"] = before[i * count + k], after[i * count + k]
                    record["code"] = _code(program)
                    file.write(json.dumps(record, separators=(",", ":")) + "\n")

    write_whole(path, write)


def _code(program: Program) -> str:
    """Straight-line programs as the original prints them, its actions on one indented line."""
    if program.actions is None:
        return str(program)
    return "def run() {\n  " + "; ".join(f"{action.name.lower()}()" for action in program.actions) + "\n}"
