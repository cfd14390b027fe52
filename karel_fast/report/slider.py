"""What the page's slider says of each snapshot."""

from __future__ import annotations

from karel_fast.analysis.series import Run, phases_of
from karel_fast.analysis.verdict import percent


def snapshots_of(run: Run) -> list[str]:
    """A line per step of the run: its phase, and what was measured of it."""
    phases = phases_of(run)
    told = {
        name: run.evaluated(name) for name in ("generative_accuracy", "generalization", "world_accuracy", "perplexity")
    }
    lines = []
    for index, step in enumerate(run.steps):
        parts = []
        if phases.syntax is not None:
            late = phases.semantics is not None and step >= phases.semantics
            parts.append("semantics" if late else "syntax" if step >= phases.syntax else "babbling")
        for name, text in (
            ("generative_accuracy", "satisfied"),
            ("generalization", "held-out too"),
            ("world_accuracy", "output worlds right"),
        ):
            if (share := told[name][index]) is not None:
                parts.append(f"{percent(share)} {text}")
        if (perplexity := told["perplexity"][index]) is not None:
            parts.append(f"perplexity {perplexity:.2f}")
        lines.append(f"step {step}: {', '.join(parts) or 'nothing measured'}")
    return lines
