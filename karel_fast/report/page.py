"""One self-contained HTML page, and PNG, SVG and CSV of every figure, from a run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from karel_fast.analysis import costs
from karel_fast.analysis.checklist import COLUMNS, NOTE, checklist, checklist_cells
from karel_fast.analysis.headline import headline_of
from karel_fast.analysis.phases import RULE
from karel_fast.analysis.results import CONTENT, results_of
from karel_fast.analysis.series import Run, number, phases_of
from karel_fast.analysis.summary import write_summary
from karel_fast.analysis.verdict import RULE as RULE_OF_VERDICT
from karel_fast.analysis.verdict import cards_of, verdict_of
from karel_fast.report.browser import example_html
from karel_fast.report.figures import TITLES, Plot, all_plots
from karel_fast.report.narrow import stack
from karel_fast.report.points import points_of
from karel_fast.report.slider import snapshots_of
from karel_fast.report.style import render, render_for_page, styled
from karel_fast.report.words import WORDS
from karel_fast.runs.folder import RunFolder, step_name
from karel_fast.support.csv_text import csv_text
from karel_fast.support.files import remove_leftovers, remove_temporaries, write_bytes, write_json, write_text
from karel_fast.support.locks import alone

MOST_EXAMPLES = 24
"""Examples on the page: the first so many of the last snapshot that has any."""

WAIT = 300
"""Seconds for which a report waits for another of the same run; one takes a few."""


def write_report(run_directory: str | Path, settings: str | None = None) -> Path:
    """Write RUN/report/report.html, results.json and figures/*, and RUN/summary.json; returns the page's path.

    settings: report the results of these settings where there are some, into RUN/report/SETTINGS, in place of the run's own.
    Reads only files of the run folder. Whatever is missing, half written or undefined is left out and said on the page.
    Raises FileNotFoundError when there is no such folder, ValueError when it holds nothing to report, BlockingIOError when
    another process has been writing the run's report for WAIT seconds.
    """
    folder = RunFolder(run_directory, settings)
    run = Run.read(folder)
    if not run.steps and not run.log:
        raise ValueError(
            f"{folder.path} holds nothing to report: no metrics.jsonl, no evaluation/step-*.json and no "
            "probing/step-*.json that is whole"
        )
    with alone(folder.page, wait=WAIT):
        return _write(folder, run)


def _write(folder: RunFolder, run: Run) -> Path:
    figures = folder.figures
    # What a killed report left half-written; the lock keeps others away.
    for place in (folder.page.parent, figures):
        remove_leftovers(place, "*")
    remove_temporaries(folder.summary)
    plots = all_plots(run)
    drawings: dict[str, Any] = {}
    for plot in plots:
        if plot.figure is None:
            for suffix in ("svg", "png", "csv"):
                (figures / f"{plot.name}.{suffix}").unlink(missing_ok=True)
            continue
        page_svg, file_svg, png = render(plot.figure, plot.name)
        places = points_of(plot.figure, run.steps)
        with styled():
            stack(plot.figure)
        below = render_for_page(plot.figure, f"{plot.name}-narrow")
        drawings[plot.name] = [
            ("wide", Markup(page_svg), places),
            ("narrow", Markup(below), points_of(plot.figure, run.steps)),
        ]
        write_text(figures / f"{plot.name}.svg", file_svg)
        write_bytes(figures / f"{plot.name}.png", png)
        write_text(figures / f"{plot.name}.csv", csv_text(plot.columns, plot.rows))
    write_summary(folder, run)
    write_text(folder.page, _page(run, plots, drawings))
    write_json(folder.results, results_of(run))
    return folder.page


def _page(run: Run, plots: list[Plot], drawings: Mapping[str, Any]) -> str:
    here = files("karel_fast.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    examples, step, reader, missing = _examples(run)
    answers = checklist([run])
    headline = headline_of(run)
    return environment.from_string((here / "page.html").read_text(encoding="utf-8")).render(
        run=run,
        css=Markup((here / "page.css").read_text(encoding="utf-8")),
        script=Markup((here / "page.js").read_text(encoding="utf-8")),
        subtitle=_subtitle(run),
        verdict=verdict_of(headline),
        verdict_rule=RULE_OF_VERDICT,
        cards=cards_of(headline),
        acquired=_acquired(run),
        words=WORDS,
        snapshots=snapshots_of(run),
        plots=[plot for plot in plots if not plot.missing],
        missing=[(plot.title, plot.missing) for plot in plots if plot.missing],
        drawings=drawings,
        checklist_columns=COLUMNS,
        checklist_rows=list(zip(checklist_cells(answers), answers, strict=True)),
        checklist_note=NOTE,
        cost_columns=costs.COLUMNS,
        cost_rows=costs.cost_rows(run),
        cost_rule=costs.RULE,
        examples=[Markup(example) for example in examples],
        examples_step=step,
        examples_missing=missing,
        reader=reader,
        notes=_notes(run),
        config=json.dumps(run.config, indent=2) if run.config else "",
    )


def _subtitle(run: Run) -> str:
    if not run.steps:
        return f"{len(run.log)} training log entries, no snapshot evaluated or probed yet."
    seeds = len(run.names("seed"))
    text = (
        f"{len(run.evaluation)} snapshots evaluated and {len(run.probed)} probed, "
        f"steps {run.steps[0]} to {run.steps[-1]}"
    )
    return text + (f"; {seeds} probe seed{'s' if seeds != 1 else ''}." if seeds else ".")


def _acquired(run: Run) -> str:
    """When the phases began, in a sentence; "" where they have not."""
    phases = phases_of(run)
    if phases.semantics is None:
        return ""
    return f"Syntax is acquired from step {phases.syntax}, semantics from step {phases.semantics}."


def _notes(run: Run) -> list[str]:
    notes = [RULE]
    if run.probed:
        notes.append(
            "Probe accuracy counts a world as right when every part of the feature is; chance differs by feature, so "
            "the majority class is drawn. A probe's epoch is chosen on validation rows; test rows give its accuracy."
        )
        notes.append(CONTENT)
    notes += _settings_notes(run)
    notes += run.problems
    steps_by_note: dict[str, list[int]] = {}
    for kind, probing_by_step in (("", run.probing), ("closer", run.closer), *run.latent.items(), *run.paper.items()):
        for step, probing in probing_by_step.items():
            for note in probing.get("notes", []):
                steps_by_note.setdefault(f"{kind}: {note}" if kind else str(note), []).append(step)
    for step, steered in run.steering.items():
        for note in steered.get("notes", []):
            steps_by_note.setdefault(f"steering: {note}", []).append(step)
    for note, steps in steps_by_note.items():
        where = f"step {steps[0]}" if len(steps) == 1 else f"{len(steps)} snapshots, steps {steps[0]} to {steps[-1]}"
        notes.append(f"{where}: {note}")
    measures = ("generative_accuracy", "world_accuracy")  # of a model that writes programs, of one that writes outputs
    missing = [s for s in run.steps if all(number(run.evaluation.get(s, {}).get(name)) is None for name in measures)]
    if missing:
        notes.append(f"no accuracy at {'steps' if len(missing) > 1 else 'step'} {', '.join(map(str, missing))}")
    return notes


def _settings_notes(run: Run) -> list[str]:
    """Which results are drawn where there are some of several settings."""
    if run.folder is None:
        return []
    drawn = run.folder.settings_name
    return [
        f"{', '.join(kinds)}: drawn are the results of {name}, not of the run's own settings"
        if name == drawn
        else f"{', '.join(kinds)}: there are results of other settings, too; karel-fast report {run.name} --settings {name} draws them"
        for name, kinds in run.folder.beside().items()
    ]


def _examples(run: Run) -> tuple[list[str], int, str, str]:
    """(HTML of each example, their step, who read the states, or why there are none)."""
    for step, stored in reversed(run.examples.items()):
        examples, broken = [], 0
        for example in stored.get("examples", [])[:MOST_EXAMPLES]:
            try:
                examples.append(example_html(example, TITLES))
            except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
                broken += 1
        if broken:
            run.problems.append(f"examples/{step_name(step)}.json: {broken} examples were not whole and were left out")
        if examples:
            return examples, step, str(stored.get("reader", "probes")), ""
    return [], 0, "", "the run folder has no examples"
