"""The sample browser: specifications drawn as worlds, with the written program, its true trace and what probes read.

An example is JSON, as `RUN/examples/step-*.json` holds it:

    {"sample": int, "correct": bool, "generalizes": bool | null, "actions": [names], "reference": [names],
     "worlds": [{"input": [rows of text], "output": [rows], "result": [rows], "right": bool,
                 "robots": [[row, column, direction], ...]}],
     "reads": [per action: null or {feature: {"truth": [[head, ...] per world], "probe": [[...], ...]}}]}

`robots` has one state more than there are actions. `truth` and `probe` are texts for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from karel_fast.karel.svg import robot_place, world_svg


def example_html(example: Mapping[str, Any], features: Mapping[str, str]) -> str:
    """One specification: its worlds side by side and the table of actions. `features` gives titles by name."""
    worlds = example["worlds"]
    verdict = "right" if example["correct"] else "wrong"
    general = {True: "also on the held-out worlds", False: "not on the held-out worlds", None: ""}
    head = (
        f'<h3><span class="verdict {verdict}">{"✓" if example["correct"] else "✗"} {verdict}</span> '
        f"Specification {int(example['sample'])}"
        f"<small>{escape(general[example.get('generalizes')]) if example['correct'] else ''}</small></h3>"
    )
    columns = []
    for number, world in enumerate(worlds):
        same = world["right"]
        places = ";".join(robot_place(*robot) for robot in world["robots"])
        columns.append(
            f'<figure class="io" data-world="{number}" data-robots="{places}">'
            f"<figcaption>world {number + 1} {'✓' if same else '✗'}</figcaption>"
            + _labelled("given", world_svg(world["input"], f"world {number + 1}, input"))
            + _labelled("wanted", world_svg(world["output"], f"world {number + 1}, wanted output"), "wanted")
            + _labelled(
                "got", world_svg(world["result"], f"world {number + 1}, program's output", world["robots"]), "got"
            )
            + "</figure>"
        )
    return (
        f'<article class="example" data-verdict="{verdict}">{head}'
        f'<div class="sides"><div class="specification">{"".join(columns)}</div>{_walk(example)}'
        f"{_table(example, features)}</div></article>"
    )


def _walk(example: Mapping[str, Any]) -> str:
    """The slider that moves the robots along their traces; for the script, which shows it."""
    last = max((len(world["robots"]) - 1 for world in example["worlds"]), default=0)
    return (
        f'<label class="walk" hidden>Trace <input type="range" min="0" max="{last}" value="{last}" step="1">'
        f"<output>at the end</output></label>"
    )


def _labelled(label: str, svg: str, name: str = "") -> str:
    return f'<div class="cellbox {name}">{svg}<span>{label}</span></div>'


def _table(example: Mapping[str, Any], features: Mapping[str, str]) -> str:
    """Actions down, features across: the true state after each action and the probe's reading, per world."""
    reads = example.get("reads") or [None] * len(example["actions"])
    names = list(dict.fromkeys(name for read in reads if read for name in read))
    count = len(example["worlds"])
    header = "".join(
        f'<th scope="col">{escape(features.get(name, name))}<br><small>true → read</small></th>' for name in names
    )
    reference = example["reference"]
    body = []
    for step in range(max(len(example["actions"]), len(reference))):
        written = example["actions"][step] if step < len(example["actions"]) else ""
        wanted = reference[step] if step < len(reference) else ""
        read = reads[step] if step < len(reads) else None
        cells = "".join(_reading(read.get(name) if read else None, count) for name in names)
        body.append(
            f'<tr data-step="{step + 1}" tabindex="0"><td>{step + 1}</td><td><code>{escape(written)}</code></td>'
            f'<td class="faint"><code>{escape(wanted)}</code></td>{cells}</tr>'
        )
    return (
        '<div class="scroll"><table><thead><tr><th scope="col">#</th><th scope="col">written</th>'
        f'<th scope="col" class="faint">reference</th>{header}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def _reading(read: Mapping[str, Any] | None, worlds: int) -> str:
    """A cell that holds every world's reading; the chosen world's is shown."""
    if read is None:
        return '<td class="faint">not probed</td>'
    parts = []
    for world in range(min(worlds, len(read["truth"]))):
        truth, probe = (", ".join(map(str, read[side][world])) for side in ("truth", "probe"))
        if set(read["truth"][world]) == {"-"}:
            text, kind = "not probed", "faint"
        elif truth == probe:
            text, kind = f"{escape(truth)} ✓", "match"
        else:
            text, kind = f"{escape(truth)} → {escape(probe)} ✗", "differ"
        parts.append(f'<span class="{kind}" data-world="{world}"{"" if world == 0 else " hidden"}>{text}</span>')
    return f"<td>{''.join(parts)}</td>"
