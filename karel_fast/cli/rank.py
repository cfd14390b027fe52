"""The command `karel-fast rank`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from karel_fast.cli.numbers import whole_option
from karel_fast.cli.options import Plugins, with_settings
from karel_fast.cli.snapshots import on_one_snapshot
from karel_fast.cli.tables import columns, percent
from karel_fast.model.shape import DecodingConfig
from karel_fast.probing.rank_settings import RankRun
from karel_fast.support.memory import freed_memory_kept

if TYPE_CHECKING:
    from karel_fast.analysis.mapping_rank import Rank

# torch takes seconds to load, so the command imports what it needs when it runs.


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("rank")(rank_command)


@with_settings
@freed_memory_kept()
def rank_command(
    run: Annotated[Path, typer.Argument(help="Folder of the run, with its snapshots.")],
    rank_run: RankRun,
    decoding: DecodingConfig,
    step: Annotated[int | None, whole_option("The snapshot's step (default: the last).")] = None,
    plugin: Plugins = None,
) -> None:
    """Probe a snapshot under every bijective mapping of the actions: where does the meaning of training stand?

    The same command goes on where it was stopped.
    """
    from karel_fast.analysis.mapping_rank import ranks_of
    from karel_fast.probing.mapping_rank import rank_snapshot
    from karel_fast.runs.contents import read_result

    path = on_one_snapshot(rank_snapshot, run, step, rank_run, decoding)
    _print(ranks_of(read_result(path, "rank")))
    typer.echo(str(path))


def _print(ranks: list[Rank]) -> None:
    """One line per ranking; lifts in points."""
    from karel_fast.analysis.mapping_rank import KINDS

    lines = [["feature", "probe", "offset", "ranked by", "own", "median", "best", "rank", "p", "best mapping"]]
    for rank in ranks:
        row = rank.to_json()
        numbers = [percent(row[name]) for name in ("own", "median", "best")]
        place = f"{rank.rank} of {len(rank.values)}"
        lines.append(
            [rank.feature, rank.depth, str(rank.offset), KINDS[rank.kind], *numbers, place, f"{rank.p:.3f}", rank.best]
        )
    for line in columns(lines, left=4):
        typer.echo(line)
