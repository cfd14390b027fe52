"""Files that are whole or absent: the only writer of them, and the only reader of text and JSON."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from karel_fast.support.checks import InputError
from karel_fast.support.checksums import sealed, unsealed

# -- writing ----------------------------------------------------------------------------------------------------------


def write_whole(path: str | Path, write: Callable[[Path], object], tag: str | None = None) -> None:
    """Calls write(temporary path), then puts the file in place: after a crash `path` is the old file or the new one.

    The folder is made. `tag` keeps the temporary names of different writers apart; by default each process has its own.
    If writing fails the temporary file is removed. IsADirectoryError for a path that is a folder.
    """
    path = Path(path)
    if path.is_dir():  # "." has no name to make a temporary one of
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path, tag)
    try:
        write(temporary)
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _named(error, path, temporary) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def write_bytes(path: str | Path, content: bytes, tag: str | None = None) -> None:
    """`write_whole` for content in memory."""
    write_whole(path, lambda temporary: temporary.write_bytes(content), tag)


def write_text(path: str | Path, text: str, tag: str | None = None) -> None:
    """`write_whole` for text, in UTF-8 with line ends as they are."""
    write_bytes(path, text.encode("utf-8"), tag)


def write_json(
    path: str | Path, value: Mapping[str, Any], *, indent: int | None = None, tag: str | None = None
) -> None:
    """`write_whole` for a JSON object, with the checksum that `read_json` compares (see `karel_fast.support.checksums`).

    ValueError for NaN and infinity, which JSON does not have.
    """
    try:
        text = json.dumps(sealed(value), indent=indent)
    except ValueError as error:
        raise ValueError(f"{path}: cannot be written as JSON ({error})") from error
    write_text(path, text + "\n", tag)


def check_folder(name: str, path: str | Path) -> None:
    """Raise InputError if no folder can be made at `path`, or nothing can be written there: a part of it is a file, or may not be
    written to. For what is written after hours.
    """
    _check_place(f"{name} {path}", Path(path))


def check_file(name: str, path: str | Path) -> None:
    """Raise InputError if no file can be written at `path`, as `check_folder` does for its folder."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{name} {path}: it is a folder, not a file; give a file")
    _check_place(f"{name} {path}", path.parent)


def _check_place(named: str, folder: Path) -> None:
    there = next((part for part in (folder, *folder.parents) if part.exists()), folder)
    if there.exists() and not there.is_dir():
        raise InputError(f"{named}: {there} is a file, not a folder; give another place")
    if there.exists() and not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{named}: {there} may not be written to; give another place")


def check_apart(outputs: Mapping[str, str | Path | None], inputs: Mapping[str, str | Path | None]) -> None:
    """Raise InputError for an output file that would replace an input, or another output. Files by what they are; None: not asked
    for.
    """
    named = [(name, Path(path)) for name, path in inputs.items() if path is not None]
    for name, path in outputs.items():
        if path is None:
            continue
        for other, there in named:
            if _is_same(Path(path), there):
                raise InputError(f"{name} {path} would replace {other}, which is the same file; name another one")
        named.append((name, Path(path)))


def _is_same(path: Path, other: Path) -> bool:
    # os.path takes a recipe's JSON text in place of a file's name, too: it is too long for Path.exists.
    there = os.path.exists(path) and os.path.exists(other)
    return os.path.samefile(path, other) if there else os.path.realpath(path) == os.path.realpath(other)


def write_folder(path: str | Path, write: Callable[[Path], object]) -> None:
    """Calls write(temporary folder), then puts the folder in place, which replaces one that is there.

    After a crash `path` is the old folder, the new one or none, and never a part of either. One process at a time may
    write a folder; what a killed one left behind is removed.
    """
    path = Path(path)
    temporary, replaced = _temporary(path, "new"), _temporary(path, "old")
    for leftover in (temporary, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        _flush_folder(temporary)
        if path.exists():
            os.replace(path, replaced)
        os.replace(temporary, path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if replaced.exists() and not path.exists():
            os.replace(replaced, path)
        if isinstance(error, OSError):
            raise _named(error, path, temporary) from error
        raise
    _flush_folder(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def remove_leftovers(directory: Path, tag: str) -> None:
    """Removes what a killed writer of that tag left behind; its lock must be held."""
    for path in directory.glob(f".*.{tag}.tmp"):
        path.unlink(missing_ok=True)


def remove_temporaries(path: Path) -> None:
    """Removes what killed writers of a file left behind; a lock must keep others from writing it."""
    for temporary in path.parent.glob(f".{path.name}.*.tmp"):
        temporary.unlink(missing_ok=True)


def _temporary(path: Path, tag: str | None) -> Path:
    return path.with_name(f".{path.name}.{tag or os.getpid()}.tmp")


def _named(error: OSError, path: Path, temporary: Path) -> OSError:
    """The error with the file's name: a full disk's has none, and others have the temporary one, which nobody gave."""
    if error.filename not in (None, temporary, str(temporary)) or error.errno is None:
        return error
    return OSError(error.errno, os.strerror(error.errno), str(path))


NOT_FLUSHED = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EPERM}
"""What file systems answer that cannot flush a folder (CIFS, FUSE, shared folders of virtual machines): nothing is lost."""


def _flush(file: Path) -> None:
    with open(file, "rb+") as opened:
        os.fsync(opened.fileno())


def _flush_folder(directory: Path) -> None:
    if os.name == "nt":
        return
    try:
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in NOT_FLUSHED:
            raise


# -- reading ----------------------------------------------------------------------------------------------------------


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    FileNotFoundError, or ValueError naming the file and what it looks like instead.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder, not a file")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    return as_text(path.read_bytes(), path)


def as_text(content: bytes, where: str | Path) -> str:
    """UTF-8 text, with or without a byte order mark. ValueError naming `where` and what the bytes look like instead."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: {_looks_like(content, error)}; save it as text in UTF-8") from error


GZIP = b"\x1f\x8b"
MAGIC = {
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    GZIP: "compressed by gzip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet file",
}
"""What files that are no text often are, by their first bytes."""


def _looks_like(content: bytes, error: UnicodeDecodeError) -> str:
    for first, name in MAGIC.items():
        if content.startswith(first):
            return f"it is {name}, not in UTF-8"
    return f"it is not text in UTF-8 (byte {error.start} is {content[error.start]:#04x})"


def parse_json(text: str, where: str | Path) -> Any:
    """The JSON value of a text. ValueError naming `where` for text that is none, or nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{where}: not valid JSON (it is nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON ({error})") from error


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file, without its checksum.

    FileNotFoundError, or ValueError naming the file where it holds anything else; DamagedFile, which is one, where it
    does not match its checksum.
    """
    value = parse_json(read_text(path), path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: holds a JSON {type(value).__name__}, not an object")
    return unsealed(value, path)


def read_json_if_whole(path: str | Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no file, or one that is half written, damaged or something else."""
    try:
        return read_json(path)
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None


LONGEST_LINE = 2**26
"""Bytes: far more than a record of the largest worlds takes, and little enough to be held."""


def lines_of(path: str | Path) -> Iterator[bytes]:
    """The lines of a file, one at a time, with their ends; those inside, of one that gzip compressed.

    ValueError naming the file: a line of more than LONGEST_LINE bytes, or a compressed file that is damaged or cut short.
    """
    with open(path, "rb") as plain:
        compressed = plain.read(2) == GZIP
        plain.seek(0)
        file: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=plain) if compressed else plain
        number = 0
        try:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise ValueError(f"{path}, line {number}: is longer than {LONGEST_LINE:,} bytes")
                yield line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{path}: cannot be decompressed after line {number} ({error}); restore it from a copy"
            ) from error
