"""A data set card for a folder of shards: README.md as the Hugging Face Hub reads it.

The card is written when it is asked for, because readers that take a whole folder for Parquet (pandas, pyarrow) stop at any other
file in it whose name does not begin with a dot or an underscore. With a card they want `ignore_prefixes=[".", "README"]`.
"""

from __future__ import annotations

import json
from pathlib import Path

from karel_fast.data.sampling.symbols import PAD
from karel_fast.data.storage.manifest import Manifest
from karel_fast.data.storage.packing import column_widths
from karel_fast.karel.language.vocabulary import ACTION_NAMES
from karel_fast.karel.status import Status
from karel_fast.support.checks import InputError
from karel_fast.support.files import write_text

CARD = "README.md"
_BEGINNING = "---\npretty_name: Karel programs and worlds"

COLUMNS = {
    "length": "symbols of the program",
    "program": f"its symbols, one byte each, padded with {PAD}; below {len(ACTION_NAMES)} they are actions: {', '.join(ACTION_NAMES)}",
    "walls": "bits: walls of all worlds, inner cells only, row by row, the first cell in the highest bit",
    "markers": "bits: markers of the worlds before the program, likewise",
    "robot": "uint16, little-endian, for each world before the program: inner cell * 4 + direction (0 north, 1 east, 2 south, 3 west)",
    "output_markers": "a byte for each inner cell: markers after the program minus markers before it, modulo 256",
    "output_robot": "like robot, after the program",
    "trace_steps": "int32, little-endian, for each world: actions performed",
    "trace_status": "a byte for each world: "
    + ", ".join(f"{status.value} {status.name.lower().replace('_', ' ')}" for status in Status),
    "trace_actions": "a byte for each world and step: the action performed, 255 past the end",
    "trace_robot": "like robot, for each world and state",
    "trace_markers": "a byte for each world and state: markers in the robot's cell",
    "trace_clear": "a byte for each world and state: front is clear + 2 * left + 4 * right",
}
"""What each column of a shard holds; its values are as many bytes in every row."""

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
    (10_000_000_000, "1B<n<10B"),
    (100_000_000_000, "10B<n<100B"),
    (1_000_000_000_000, "100B<n<1T"),
)


def write_card(directory: str | Path) -> Path:
    """Write README.md into a folder of shards; the same folder gets the same text. FileNotFoundError if it is none, or ShardError;
    InputError, see `check_card`.
    """
    directory = Path(directory)
    path = check_card(directory)
    write_text(path, card_text(Manifest.read(directory)))
    return path


def check_card(directory: str | Path) -> Path:
    """Where a folder's card lies or would. InputError if a README.md of another kind lies there, which it would replace."""
    path = Path(directory) / CARD
    if path.is_file() and not path.read_text(encoding="utf-8", errors="replace").startswith(_BEGINNING):
        raise InputError(f"{path} is no card of karel_fast, and would be replaced: move it, or choose another folder")
    return path


def card_text(manifest: Manifest) -> str:
    """The card of a data set: YAML for the Hub, and what a reader needs to know."""
    recipe = manifest.recipe
    size = next((name for most, name in _SIZES if manifest.count < most), "n>1T")
    widths = column_widths(recipe, manifest.traces is not None)
    columns = [f"| `{name}` | {width} | {COLUMNS[name]} |" for name, width in widths.items()]
    worlds = recipe.worlds_per_sample
    split = {"val": "validation"}.get(manifest.split, manifest.split)
    return f"""{_BEGINNING}
size_categories:
- {size}
tags:
- karel
- program-synthesis
configs:
- config_name: default
  data_files:
  - split: {split}
    path: shard-*.parquet
---

# Karel programs and worlds

{manifest.count:,} samples of split {manifest.split}, made by karel_fast. Each is a Karel program and {worlds} worlds of {recipe.height} x
{recipe.width} cells, before and after the program ran: {recipe.examples} examples to show, and {recipe.held_out} held out.

Every sample is a function of the recipe, the split and its number, so the data set can be made again, to the bit, with generator version
{manifest.generator_version} and this recipe:

```json
{json.dumps(json.loads(recipe.to_json()), indent=1, sort_keys=True)}
```

As programs and worlds it is read by

```python
import karel_fast as kf

samples = kf.data.open_shards("FOLDER").samples(0, 100)
print(samples.programs[0], samples.inputs.to_text()[0], samples.outputs.to_text()[0])
```

## Columns

A row is a sample. Worlds are in order, those to show first; a ring of wall around each is left out.

| column | bytes a row | what it holds |
|---|---|---|
{chr(10).join(columns)}
"""
