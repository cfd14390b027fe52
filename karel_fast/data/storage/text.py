"""Samples as people read them: programs, and their worlds side by side before and after."""

from __future__ import annotations

from pathlib import Path

from karel_fast.data.sampling.samples import Samples
from karel_fast.support.files import write_whole

ARROW = "  ->  "


def sample_text(samples: Samples, i: int) -> str:
    """One sample: its program, and a block of lines for each of its worlds, before -> after."""
    count = samples.recipe.worlds_per_sample
    here = slice(i * count, (i + 1) * count)
    lines = [f"sample {samples.split} {samples.start + i}", str(samples.programs[i]), ""]
    for k, (before, after) in enumerate(
        zip(samples.inputs[here].to_text(), samples.outputs[here].to_text(), strict=True)
    ):
        lines.append(f"example {k}" + (", held out" if k >= samples.recipe.examples else ""))
        rows = list(zip(before.split("\n"), after.split("\n"), strict=True))
        middle = len(rows) // 2
        lines += [a + (ARROW if row == middle else " " * len(ARROW)) + b for row, (a, b) in enumerate(rows)]
        lines.append("")
    return "\n".join(lines)


def export_text(samples: Samples, path: str | Path) -> None:
    """Write samples as text, a line of = between them; the file is put in place when it is complete."""

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8") as file:
            for i in range(len(samples)):
                file.write(("=" * 40 + "\n" if i else "") + sample_text(samples, i))

    write_whole(path, write)
