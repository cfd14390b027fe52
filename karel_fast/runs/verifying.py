"""Whether the files of a run folder, a snapshot or a table are the ones that were written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from karel_fast.runs.folder import METRICS, RunFolder
from karel_fast.support.checks import one_line
from karel_fast.support.checksums import FILES, SEAL, check_named
from karel_fast.support.files import parse_json, read_json, read_text

TENSORS = ".safetensors"


@dataclass
class FolderVerification:
    """Of a folder's files: how many match their checksums, which ones were written without (by earlier versions of
    karel_fast, or by other programs), and one line on each that is missing or damaged.
    """

    right: int = 0
    unsealed: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def verify_folder(directory: str | Path) -> FolderVerification:
    """Looks at every JSON file in a folder and its folders, at the files that those name with checksums, at the state of training and
    at every line of its log. Nothing is changed. FileNotFoundError if there is no such folder, ValueError if it holds no such
    file.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(
            f"{directory}: " + ("a file; name its folder" if directory.exists() else "there is no such folder")
        )
    found = FolderVerification()
    named: set[Path] = set()
    for path in _files(directory, ".json"):
        _look(path, found, named)
    for path in _files(directory, TENSORS):
        if path not in named:
            _look_at_tensors(path, found)
    for path in _files(directory, METRICS):
        run = RunFolder(path.parent)
        run.metrics()
        found.problems += [f"{path.parent}: {problem}" for problem in run.problems]
    found.unsealed = [path for path in found.unsealed if path not in named]
    if not (found.right or found.unsealed or found.problems):
        raise ValueError(f"{directory} holds neither shards nor anything of a run")
    return found


def _files(directory: Path, suffix: str) -> Iterator[Path]:
    """Those of a folder in order; what a killed process left half-written has a name that begins with a dot."""
    for path in sorted(directory.rglob(f"*{suffix}")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts):
            yield path


def _look(path: Path, found: FolderVerification, named: set[Path]) -> None:
    try:
        value = parse_json(read_text(path), path)
        if not (isinstance(value, dict) and (SEAL in value or FILES in value)):
            found.unsealed.append(path)
            return
        value = read_json(path)
        found.right += SEAL in parse_json(read_text(path), path)
    except (ValueError, OSError) as error:
        found.problems.append(one_line(error))
        return
    files = value.get(FILES)
    for name in files if isinstance(files, dict) else ():
        named.add(path.parent / name)
        try:
            found.right += check_named(path.parent, value, [name])
        except (ValueError, OSError) as error:
            found.problems.append(one_line(error))


def _look_at_tensors(path: Path, found: FolderVerification) -> None:
    from karel_fast.model.tensors import read_tensors

    try:
        tensors = read_tensors(path)
    except (ValueError, OSError) as error:
        found.problems.append(one_line(error))
        return
    if tensors.sealed:
        found.right += 1
    else:
        found.unsealed.append(path)
