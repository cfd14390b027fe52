"""What the publications say, claim by claim, and how each is asked of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from karel_fast.analysis.claim_measures import (
    Answer,
    ability_on_content,
    above_untrained,
    beyond_time,
    beyond_untrained,
    latent_direction,
    latent_grid,
    phase_share,
    read_direction,
    readings_of,
    satisfied,
    shorter,
)
from karel_fast.analysis.costs import ORIGINAL_ACCURACY
from karel_fast.analysis.phases import PAPER_SHARES
from karel_fast.analysis.series import Run

PAPER = "Jin & Rinard, ICML 2024"
SEQUEL = "Jin & Rinard, COLM 2024"
FEATURES = ("direction", "position", "facing")
READ = {"linear": 0.632, "mlp1": 0.791, "mlp2": 0.823}
"""The paper's accuracies for the state after the current action, per depth of the probe."""
R2 = 0.878
"""The paper's R2 of ability on semantic content."""
SMALLER = "smaller model, worlds and programs than the paper's, unless the run is `paper`"


@dataclass(frozen=True)
class Claim:
    """One published number or statement. unit: "%", "points" or "" (as it is); `control`: what stands beside it. `measure`: how it is
    asked of a run, and `command`: what measures it where a run cannot say.
    """

    name: str
    source: str
    kind: str
    unit: str
    control: str
    differs: str
    measure: Callable[[Run], Answer]
    command: str
    published: float | None = None


def claims_of(runs: Sequence[Run]) -> list[Claim]:
    """All claims; those about altered meanings are of the ones that these runs were probed under."""
    altered = [name for name in dict.fromkeys(n for run in runs for n in _meanings(run)) if name != "original"]
    return [
        Claim(
            "specifications satisfied",
            PAPER,
            "at least",
            "%",
            "untrained model",
            SMALLER,
            satisfied,
            "karel-fast evaluate --every-snapshot",
            ORIGINAL_ACCURACY,
        ),
        *_of_states(),
        *_of_meanings(altered or ["adversarial"]),
        *_of_training(),
        *_of_withheld_outputs(),
    ]


def _of_states() -> Iterator[Claim]:
    """What probes read in the states, of now and of other times."""
    for depth, published in READ.items():
        yield Claim(
            f"direction after the action, {depth}",
            PAPER,
            "at least",
            "%",
            "majority class",
            "all worlds from one state; the paper's probes read the first",
            partial(read_direction, depth=depth),
            "karel-fast probe",
            published,
        )
    yield Claim(
        "ability on semantic content, R2",
        PAPER,
        "at least",
        "",
        "R2 of the step number",
        SMALLER,
        ability_on_content,
        "karel-fast probe, at every snapshot",
        R2,
    )
    yield Claim(
        "the same, beyond the step number's R2",
        PAPER,
        "above zero",
        "",
        "",
        "not asked there",
        beyond_time,
        "karel-fast probe, at every snapshot",
    )
    for offset in (1, 2, -1, -2):
        where = f"direction {abs(offset)} action{'s' * (abs(offset) > 1)} {'later' if offset > 0 else 'earlier'}"
        yield Claim(
            f"{where}: lift above an untrained model",
            PAPER,
            "above zero",
            "points",
            "untrained model's lift",
            "there without untrained models",
            partial(above_untrained, offset=offset),
            f"karel-fast probe --offsets {offset}",
        )


def _of_meanings(altered: Sequence[str]) -> Iterator[Claim]:
    """How much less is read where the actions mean something else."""
    for feature in FEATURES:
        for name in altered:
            yield Claim(
                f"{feature}: lift less under {name}",
                PAPER,
                "above zero",
                "points",
                "the same, untrained",
                "difference in differences; there accuracy",
                partial(beyond_untrained, feature=feature, meaning=name),
                f"karel-fast probe --features {feature}",
            )


def _of_training() -> Iterator[Claim]:
    """The phases of training, and the programs at its end."""
    for index, phase in enumerate(("babbling", "syntax", "semantics")):
        yield Claim(
            f"share of training: {phase}",
            PAPER,
            "about",
            "%",
            "",
            "by a rule; there by eye",
            partial(phase_share, index=index),
            "karel-fast evaluate --every-snapshot",
            PAPER_SHARES[index],
        )
    yield Claim(
        "programs shorter than the references",
        PAPER,
        "above zero",
        "",
        "references' actions",
        "actions, on average",
        shorter,
        "karel-fast evaluate --every-snapshot",
    )


def _of_withheld_outputs() -> Iterator[Claim]:
    """What is read where the outputs are withheld (the sequel's question)."""
    for feature in FEATURES:
        yield Claim(
            f"{feature} of programs read, outputs withheld, where not learnt",
            SEQUEL,
            "above zero",
            "points",
            "the same, untrained",
            "difference in differences, mean of the altered meanings",
            partial(latent_grid, feature=feature),
            "karel-fast latent --initialisations 1",
        )
    for withheld in ("space", "input"):
        yield Claim(
            f"direction read, outputs withheld ({withheld})",
            SEQUEL,
            "above zero",
            "points",
            "the same, untrained",
            "difference in differences, adversarial",
            partial(latent_direction, kind=withheld),
            f"karel-fast probe --programs-from reference --withhold {withheld}",
        )


def _meanings(run: Run) -> Iterable[str]:
    return [name for reading in readings_of(run) for name in reading.names("semantics")]
