"""SHA-256 of files and of JSON values, so that damage is found before it is used.

A JSON object that karel_fast writes ends in the checksum of its own content, under `SEAL`. It may name files beside it, with
their checksums, under `FILES`; whoever reads one of those files compares. What earlier versions wrote has neither, and is
read as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SEAL = "sha256"
FILES = "files"
CARD = "karel_fast.json"
"""The JSON file that a run writes beside a model's weights, and that names them."""


class DamagedFile(ValueError):
    """A file is not the one that was written. The message names it and says what to do."""


def file_sum(path: str | Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits. Raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The checksums of files in a folder, by their names relative to it, written with slashes."""
    return {name: file_sum(folder / name) for name in sorted(names)}


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the checksum of its content. ValueError for NaN and infinity, which JSON does not have."""
    content = json.loads(json.dumps({key: inner for key, inner in value.items() if key != SEAL}, allow_nan=False))
    return {**content, SEAL: _content_sum(content)}


def unsealed(value: Mapping[str, Any], where: str | Path) -> dict[str, Any]:
    """The object without its checksum, after comparing. DamagedFile, naming `where`, if they differ."""
    content = dict(value)
    seal = content.pop(SEAL, None)
    if seal is not None and seal != _content_sum(content):
        raise DamagedFile(
            f"{where}: its content does not match the checksum at its end: it is damaged, or was edited by hand (then "
            f'remove its "{SEAL}" line); make it again, or restore it from a copy'
        )
    return content


def check_named(folder: Path, value: Mapping[str, Any], names: Iterable[str] | None = None) -> int:
    """Compare files with the checksums that a JSON object gives them; all, or only those of `names`. Returns how many.

    A file without a checksum is not looked at. DamagedFile names the first file that differs, FileNotFoundError one that
    is missing.
    """
    sums = value.get(FILES)
    if not isinstance(sums, Mapping):
        return 0
    chosen = [name for name in (sums if names is None else names) if name in sums]
    for name in chosen:
        if not name.isprintable():
            raise DamagedFile(f"{folder}: names the file {name!r}, which no file is called")
        if not _is_inside(name):
            raise DamagedFile(f"{folder}: names the file {name!r}, which is outside the folder")
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing")
        if file_sum(path) != sums[name]:
            raise DamagedFile(
                f"{path}: does not match its checksum: it was changed or damaged after it was written; restore it from a "
                "copy, or remove it and make it again"
            )
    return len(chosen)


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _content_sum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
