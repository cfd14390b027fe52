"""The command `karel-fast features`."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import Annotated

import typer

from karel_fast.cli.data import read_recipe
from karel_fast.cli.options import Plugins
from karel_fast.cli.tables import columns
from karel_fast.probing.features import FEATURES, Setting

UNCUT = 1000  # columns of a file


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("features")(features_command)


def features_command(
    recipe: Annotated[
        str, typer.Option(help="Recipe whose worlds and programs say how many classes there are.")
    ] = "paper",
    plugin: Plugins = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what probes can be asked to read: --features of probe, rank and latent takes these names."""
    chosen = read_recipe(recipe)
    setting = Setting(chosen.height, chosen.width, chosen.lengths[1])
    if as_json:
        rows = [
            {
                "name": feature.name, "reads": feature.description, "numbers": list(feature.heads),
                "classes": feature.classes(setting), "own": bool(feature.source),
            }
            for feature in FEATURES.values()
        ]  # fmt: skip
        typer.echo(json.dumps(rows, indent=1))
        return
    lines = [["name", "numbers", "classes of each", "reads"]]
    for feature in FEATURES.values():
        of = " (your own)" if feature.source else ""
        lines.append([feature.name, str(len(feature.heads)), str(feature.classes(setting)), feature.description + of])
    before = sum(max(len(line[i]) for line in lines) + 2 for i in range(3))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNCUT
    wrapped: list[list[str]] = []
    for *cells, reads in lines:
        for number, text in enumerate(textwrap.wrap(reads, max(20, width - before - 1))):
            wrapped.append([*(cells if number == 0 else [""] * len(cells)), text])
    for line in columns(wrapped, aligned="lrrl"):
        typer.echo(line)
