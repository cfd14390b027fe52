"""A folder of shards as other tools read it whole: the lines of docs/data.md, with a data set card in the folder and without."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from karel_fast.data import Recipe, write_card, write_shards

RECIPE = Recipe.control_flow(height=6, width=9, examples=2, held_out=1)
COUNT = 12
LINES = dict(
    re.findall(r"^\| (\w+) \| `(.*paper.*)` \|$", (Path(__file__).parents[1] / "docs/data.md").read_text(), re.M)
)
READERS: dict[str, Callable[[object], dict[str, list]]] = {
    "pandas": lambda frame: {name: list(frame[name]) for name in frame},
    "pyarrow": lambda table: table.to_pydict(),
    "fastparquet": lambda frame: {name: list(frame[name]) for name in frame},
    "DuckDB": lambda relation: dict(
        zip(relation.columns, map(list, zip(*relation.fetchall(), strict=True)), strict=True)
    ),
    "polars": lambda frame: frame.to_dict(as_series=False),
    "datasets": lambda splits: {name: list(column) for name, column in next(iter(splits.values())).to_dict().items()},
}
"""What each reader returns as columns, under the documentation's name for it."""


def test_every_reader_has_a_line() -> None:
    assert list(LINES) == list(READERS)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # fastparquet leaves files open
@pytest.mark.parametrize("card", [False, True])
@pytest.mark.parametrize("reader", READERS)
def test_the_folder_is_read_whole(reader: str, card: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip(reader.lower())
    folder = tmp_path / "paper"
    write_shards(RECIPE, "val", folder, count=COUNT, shard_size=5, traces="flip")
    line = LINES[reader].replace("datasets/paper", str(folder))
    if card:
        write_card(folder)
        if reader in ("pandas", "pyarrow"):
            line = line[:-1] + ', ignore_prefixes=[".", "README"])'
        if reader == "polars":
            line = line.replace('"."', '[".", "README"]')
    if reader == "datasets":
        line = line[:-1] + f', cache_dir="{tmp_path / "cache"}")'
    found = READERS[reader](eval(line, {module.__name__: module, "pyarrow": pytest.importorskip("pyarrow")}))
    wanted = pq.read_table(sorted(folder.glob("*.parquet"))).to_pydict()
    assert {name: [*map(int, found[name])] if name == "length" else found[name] for name in found} == wanted
    assert len(wanted["length"]) == COUNT
