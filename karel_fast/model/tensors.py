"""Files of named tensors (safetensors): the only reader and writer of them. Pickled files are never read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from karel_fast.support.checksums import SEAL, DamagedFile
from karel_fast.support.files import write_whole


@dataclass(frozen=True, slots=True)
class Tensors:
    """What a file holds; sealed: whether it had a checksum, which was right."""

    by_name: dict[str, Tensor]
    metadata: dict[str, str]
    sealed: bool


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, seal: bool, tag: str | None = None
) -> None:
    """Writes the file whole.

    seal: among its metadata is a checksum over names, types, shapes, values and metadata. The library writes several
    metadata in any order, so only a file with a single one has the same bytes every time.
    Tensors must be contiguous and on the CPU. tag: as for `write_whole`. OSError if the disk refuses.
    """
    stated = {**metadata, SEAL: _content_sum(tensors, metadata)} if seal else dict(metadata)

    def write(temporary: Path) -> None:
        try:
            save_file(dict(tensors), temporary, metadata=stated)
        except SafetensorError as error:
            # It wraps the system's errors in one of its own.
            raise OSError(f"{path}: cannot be written ({error})") from error

    write_whole(path, write, tag)


def read_tensors(path: Path) -> Tensors:
    """All tensors of a file, on the CPU. FileNotFoundError; ValueError, naming the file, for one that cannot be read;
    DamagedFile, which is one, for one that does not match its checksum.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            by_name = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error}); restore it from a copy") from error
    seal = metadata.pop(SEAL, None)
    if seal is not None and seal != _content_sum(by_name, metadata):
        raise DamagedFile(f"{path}: does not match its checksum: it is damaged; restore it from a copy")
    return Tensors(by_name, metadata, seal is not None)


def read_metadata(path: Path) -> dict[str, str]:
    """What a file says beside its tensors, which are neither read nor compared with a checksum. ValueError, naming the file, for
    one that cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, ValueError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error}); restore it from a copy") from error


def _content_sum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    state = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        state.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()
