"""The manifest of a folder of shards: what it is made from, and a digest per shard that has been written."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from karel_fast.data.sampling.generation import check_set
from karel_fast.data.sampling.philox import GENERATOR_VERSION
from karel_fast.data.sampling.recipe import Recipe, check_recipe, semantics_from_json, semantics_to_json, split_code
from karel_fast.data.storage.packing import most_rows, trace_length
from karel_fast.karel.language import Semantics
from karel_fast.support.checks import whole
from karel_fast.support.files import read_json, write_json

FORMAT = "karel_fast shards"
FORMAT_VERSION = 1
FILE = ".manifest.json"  # readers of a folder of Parquet files leave out what begins with a dot
EARLIER_FILE = "manifest.json"
"""What earlier versions called it; read where there is no other, and gone when the folder is next written."""


def manifest_file(directory: Path) -> Path:
    """Where the manifest of a folder lies, if it has one."""
    path, earlier = directory / FILE, directory / EARLIER_FILE
    return earlier if earlier.is_file() and not path.is_file() else path


class ShardError(ValueError):
    """A folder of shards is not what it should be."""


@dataclass(frozen=True)
class Entry:
    """A shard that has been written."""

    digest: str  # over its column values, see `karel_fast.data.storage.packing.digest`
    size: int  # of its file in bytes
    sha256: str | None = None  # of its file; None in manifests of earlier versions

    def __post_init__(self) -> None:
        whole("size", self.size, 0)
        for name, text in (("digest", self.digest), ("sha256", self.sha256 or "")):
            if not isinstance(text, str):
                raise TypeError(f"{name} {text!r}")


@dataclass(frozen=True)
class Manifest:
    """`shards` maps the numbers of the shards written so far to their entries."""

    recipe: Recipe
    split: str
    count: int
    shard_size: int
    traces: Semantics | None
    generator_version: int = GENERATOR_VERSION
    shards: tuple[tuple[int, Entry], ...] = ()

    def __post_init__(self) -> None:
        check_recipe(self.recipe)
        split_code(self.split)
        count, shard_size, _ = check_set(self.count, self.shard_size)
        object.__setattr__(self, "count", count)
        object.__setattr__(self, "shard_size", shard_size)
        for shard, _ in self.shards:
            whole("shard", shard, 0, self.shard_count - 1)
        most = most_rows(self.recipe, self.traces is not None)
        if min(self.count, self.shard_size) > most:
            raise ValueError(
                f"shard_size is {self.shard_size}: a column of so many samples of this recipe takes more than 2 GiB, which "
                f"Parquet's readers cannot hold; use at most {most}"
            )

    @property
    def shard_count(self) -> int:
        return -(-self.count // self.shard_size)

    def rows(self, shard: int) -> tuple[int, int]:
        """First sample of a shard, and how many it has."""
        start = shard * self.shard_size
        return start, min(self.shard_size, self.count - start)

    def file(self, shard: int) -> str:
        return f"shard-{shard:05d}.parquet"

    @property
    def written(self) -> dict[int, Entry]:
        return dict(self.shards)

    def differences(self, other: Manifest) -> list[str]:
        """What the two were made from that differs, in words."""
        mine, theirs = self._made_from(), other._made_from()
        recipe_mine, recipe_theirs = mine.pop("recipe"), theirs.pop("recipe")
        pairs = [(key, mine[key], theirs[key]) for key in mine]
        pairs += [(f"recipe.{key}", recipe_mine[key], recipe_theirs[key]) for key in recipe_mine]
        return [f"{key} {a!r} there, {b!r} here" for key, a, b in pairs if a != b]

    def with_shards(self, entries: dict[int, Entry]) -> Manifest:
        return replace(self, shards=tuple(sorted(entries.items())))

    def _made_from(self) -> dict[str, Any]:
        recipe = json.loads(self.recipe.to_json())
        traces = None if self.traces is None else semantics_to_json(self.traces)
        return {
            "recipe": recipe, "split": self.split, "count": self.count, "shard_size": self.shard_size, "traces": traces,
            "generator_version": self.generator_version,
        }  # fmt: skip

    def metadata(self) -> dict[str, str]:
        """What every shard's file says about where it comes from."""
        made_from = {key: value for key, value in self._made_from().items() if key not in ("count", "shard_size")}
        return {"karel_fast": json.dumps(made_from, sort_keys=True)}

    # -- the file -----------------------------------------------------------------------------------------------------

    def write(self, directory: Path, tag: str) -> None:
        """Puts the manifest in place, whole."""
        shards = [
            {"shard": k, "file": self.file(k), "start": self.rows(k)[0], "rows": self.rows(k)[1], **_stated(entry)}
            for k, entry in self.shards
        ]
        content = {
            "format": FORMAT, "format_version": FORMAT_VERSION, **self._made_from(), "recipe_hash": self.recipe.hash,
            "trace_length": trace_length(self.recipe) if self.traces else None, "shards": shards,
        }  # fmt: skip
        write_json(directory / FILE, content, indent=1, tag=tag)
        (directory / EARLIER_FILE).unlink(missing_ok=True)

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """FileNotFoundError if there is none; ShardError if it is of a newer version or not a manifest at all."""
        path = manifest_file(directory)
        if not path.is_file():
            raise FileNotFoundError(f"{directory} has no {FILE}: it is no folder that write_shards has written")
        try:
            content = read_json(path)
        except ValueError as error:
            raise ShardError(f"{error}: restore it, or delete it and generate again") from error
        if content.get("format") != FORMAT:
            raise ShardError(f"{path} is no manifest of {FORMAT}")
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise ShardError(
                f"{path} has format version {version!r}, and this karel_fast reads version {FORMAT_VERSION}: "
                "use the version of karel_fast that wrote it, or a newer one"
            )
        try:
            return cls(
                recipe=Recipe.from_json(json.dumps(content["recipe"])),
                split=content["split"],
                count=content["count"],
                shard_size=content["shard_size"],
                traces=None if content["traces"] is None else semantics_from_json(content["traces"]),
                generator_version=content["generator_version"],
                shards=tuple((s["shard"], Entry(s["digest"], s["size"], s.get("sha256"))) for s in content["shards"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ShardError(f"{path} lacks or garbles {error}: restore it, or delete it and generate again") from error


def _stated(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in vars(entry).items() if value is not None}
