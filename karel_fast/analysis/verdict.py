"""The headline in words: two sentences of verdict, and the cards, made from the numbers alone.

A claim counts as shown where its whole 95 % interval lies above its control, as "not shown" where it does not, and as "not tested"
where there is no control or no interval. A null never reads as a yes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from karel_fast.analysis.headline import Ability, Estimate, Headline, Reading
from karel_fast.analysis.names import DEPTH_TITLES, TITLES

RULE = (
    "Points are of lift, which is right answers above the most frequent answer: how many more of them are lost under another meaning "
    "of the actions than from an untrained model. Of all other meanings, the one that speaks least for the model is named. "
    "Shown: the whole 95 % interval is above the control. Intervals are over specifications, or test programs and probe seeds (programs "
    "alone where there is one seed), of this one run; another training could differ (karel-fast compare)."
)
_ABILITIES = {
    "satisfied": "Specifications satisfied",
    "held_out": "Also on held-out worlds",
    "worlds": "Output worlds right",
}
_KINDS = {
    "probing": "",
    "closer": "closer look",
    "paper-grid": "published grid",
    "paper": "published protocol",
}


@dataclass(frozen=True)
class Card:
    """One number: what it is of, the number with its interval, what stands beside it, and what follows."""

    term: str
    value: str
    interval: str
    details: tuple[str, ...]
    verdict: str = ""


def verdict_of(headline: Headline) -> tuple[str, str]:
    """What the run shows of the model's ability, and of what its states hold."""
    return _of_ability(headline.abilities), _of_states(headline.readings)


def cards_of(headline: Headline) -> list[Card]:
    """The headline's numbers, one card each."""
    return [_ability_card(ability) for ability in headline.abilities] + [_reading_card(r) for r in headline.readings]


def percent(value: float) -> str:
    """A share: 95.3 %."""
    return f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of shares, its sign before it: +3.1."""
    return f"{100 * value:+.1f}".replace("-", "−")


def _range(one: Estimate, text: str = "", signed: bool = False) -> str:
    """The interval after some text, "" where there is none."""
    if one.low is None or one.high is None:
        return ""
    low, high = (points(v) if signed else f"{100 * v:.1f}" for v in (one.low, one.high))
    return f"{text}{low} to {high}"


def _of_ability(abilities: Sequence[Ability]) -> str:
    if not abilities:
        return "What it writes was not measured: no snapshot was evaluated."
    first = abilities[0]
    does = {
        "satisfied": "it has learned to write programs that do what is asked",
        "worlds": "it has learned what programs do to a world",
    }[first.name]
    # What needs no learning counts as well: one program written for every specification, or the input copied.
    bases = [value for value in (first.untrained, *(value for _, value in first.beside)) if value is not None]
    base = max(bases, default=None)
    if base is None or first.share.low is None:
        lead = f"Whether {does} was not tested"
    elif first.share.low > base:
        lead = f"{does[0].upper()}{does[1:]}"
    else:
        lead = f"That {does} is not shown"
    asked = "specifications" if first.asked is None else f"{first.asked:,} new specifications"
    said = f"{percent(first.share.value)} of {asked} are satisfied"
    if first.name == "worlds":
        said = f"{percent(first.share.value)} of output worlds are right"
    beside = [
        f"95 % interval {interval}" if (interval := _range(first.share)) else "no interval",
        "no untrained model beside it" if first.untrained is None else f"untrained {percent(first.untrained)}",
        *(f"{name} {percent(value)}" for name, value in first.beside),
    ]
    text = f"{lead}: at step {first.step}, {said} ({', '.join(beside)})"
    held_out = next((one for one in abilities if one.name == "held_out"), None)
    if held_out is not None:
        ideal = "".join(f", {name} {percent(value)}" for name, value in held_out.beside)
        more = f"{_range(held_out.share)}{ideal}".lstrip(", ")
        text += f", and {percent(held_out.share.value)} on held-out worlds too" + (f" ({more})" if more else "")
    return f"{text}."


def _of_states(readings: Sequence[Reading]) -> str:
    if not readings:
        return "What its states hold was not measured: no probe has a score."
    shown, open_, untested = (
        [reading for reading in readings if reading.shown is answer] for answer in (True, False, None)
    )
    holds = "its states hold what the programs do"
    parts = []
    if shown:
        parts.append(f"That {holds} is shown for {_listed(shown, 'and')}")
    if open_:
        parts.append(
            f"it is not shown for {_listed(open_, 'or')}"
            if shown
            else f"That {holds} is not shown for {_listed(open_, 'or')}"
        )
    if untested:
        names = _joined([_name(reading) for reading in untested], "and")
        need = "that takes an untrained model's probes under other meanings, with intervals over programs"
        parts.append(f"for {names} it was not tested: {need}" if parts else f"Whether {holds} was not tested: {need}")
    return "; ".join(parts) + "."


def _listed(readings: Sequence[Reading], last: str) -> str:
    return _joined([f"{_name(reading)} ({_weakest(reading)})" for reading in readings], last)


def _joined(names: Sequence[str], last: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def _name(reading: Reading) -> str:
    return TITLES.get(reading.feature, reading.feature).lower()


def _weakest(reading: Reading) -> str:
    assert reading.weakest is not None
    name, one = reading.weakest
    base = "" if reading.majority is None else f", most frequent answer {percent(reading.majority)}"
    interval = _range(one, ", 95 % interval ", signed=True)
    return f"read {percent(reading.accuracy.value)}{base}; {points(one.value)} points under {name}{interval}"


def _ability_card(ability: Ability) -> Card:
    details = ["no untrained model" if ability.untrained is None else f"untrained {percent(ability.untrained)}"]
    details += [f"{name} {percent(value)}" for name, value in ability.beside]
    details.append(f"step {ability.step}" + ("" if ability.asked is None else f", {ability.asked:,} specifications"))
    return Card(_ABILITIES[ability.name], percent(ability.share.value), _range(ability.share), tuple(details))


def _reading_card(reading: Reading) -> Card:
    details = ["no untrained model" if reading.untrained is None else f"untrained {percent(reading.untrained)}"]
    if reading.majority is not None:
        details.append(f"most frequent answer {percent(reading.majority)}")
    if reading.gained is not None:
        details.append(
            f"lift above untrained {points(reading.gained.value)}{_range(reading.gained, ', ', signed=True)}"
        )
    kind = _KINDS.get(reading.kind, reading.kind)
    details.append(
        ", ".join(
            part for part in (DEPTH_TITLES.get(reading.depth, reading.depth), f"step {reading.step}", kind) if part
        )
    )
    verdict = {True: "meaning: shown", False: "meaning: not shown", None: "meaning: not tested"}[reading.shown]
    title = f"{TITLES.get(reading.feature, reading.feature)} read"
    return Card(title, percent(reading.accuracy.value), _range(reading.accuracy), tuple(details), verdict)
