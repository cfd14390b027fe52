"""What every kind of result in a run folder holds: looked at once, when a file is read, so that nobody after that needs to ask.

A checksum finds damage. What somebody wrote by hand, forged, or made with another program has none, or the right one; it is refused
here by name and place, before anything is made of it. Numbers may be missing or null, as in files of earlier versions; what tells
records apart may not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karel_fast.support.checks import InputError
from karel_fast.support.files import read_json
from karel_fast.support.shapes import (
    Check,
    Misfit,
    anything,
    digits,
    each,
    flag,
    keyed,
    maybe,
    name,
    number,
    shown,
    table,
    text,
    whole,
)

MOST_NAMES = 100
"""So many features, depths, meanings, layers or offsets at most are in one file: each is a panel, a line or a tick of a figure."""

_STEP = whole(0, 10**15)
_SHARE = number(0, 1)
_DIFFERENCE = number(-1, 1)
_COUNT = whole(0, 10**15)
_NOTES = each(text)
_OFFSET = whole(-100_000, 100_000)


def _layer(value: Any) -> None:
    """A layer, or the mean over all."""
    if value != "mean":
        try:
            whole(0, 100_000)(value)
        except Misfit:
            raise Misfit(f'is {shown(value)}; it is a layer\'s number, or "mean"') from None


_PLACE: dict[str, Check] = {
    "feature": name, "depth": name, "semantics": name, "labels": name, "states": name, "layer": _layer, "offset": _OFFSET,
}  # fmt: skip
_RECORD = table(
    {
        **_PLACE,
        "seed": whole(0, 2**64 - 1),
        **dict.fromkeys(("accuracy", "joint", "majority", "best_on_test"), _SHARE),
        "validation": number(-1, 1),  # -1: of a probe whose validation rows have no label
        **{f"ceiling_{reader}_accuracy": _SHARE for reader in ("both", "specification", "prefix")},
        **{f"ceiling_{reader}_bits": number() for reader in ("both", "specification", "prefix")},
        "lift": _DIFFERENCE,
        **dict.fromkeys(
            ("normalised", "entropy", "cross_entropy", "bits", "bits_share", "lift_share", "bits_share_of_ceiling"),
            number(),
        ),
    },
    (*_PLACE, "seed", "accuracy"),
)
_CONTRASTS = dict.fromkeys(("mean", "low", "high", "cluster_low", "cluster_high"), number()) | {"p": _SHARE}


def _contrast(*without: str) -> Check:
    """A difference. Those of earlier versions, without a measure, are made again from the records."""
    needed = [key for key in _PLACE if key not in without] + ["mean"]
    shape = {**_PLACE, **_CONTRASTS, "measure": name, "seeds": _COUNT}
    whole_one, older = table(shape, needed), table(shape)

    def check(value: Any) -> None:
        (whole_one if isinstance(value, dict) and "measure" in value else older)(value)

    return check


_PROBING = {
    "step": _STEP,
    "records": each(_RECORD),
    "differences": each(_contrast()),
    "differences_in_differences": each(_contrast("states")),
    "notes": _NOTES,
    "grid": maybe(table({"actions": maybe(table({"train": each(_COUNT), "test": each(_COUNT)}))})),
}


def _probing(value: Any) -> None:
    table(_PROBING)(value)
    _few_names(value.get("records", ()), "records", ("feature", "depth", "semantics", "layer", "offset"))


def _few_names(records: Any, place: str, keys: tuple[str, ...]) -> None:
    for key in keys:
        if (count := len({record[key] for record in records})) > MOST_NAMES:
            raise Misfit(f"has {count} different values of {key}; at most {MOST_NAMES} can be drawn", f".{place}")


_SHARES_OF_EVALUATION = (
    "generative_accuracy", "generalization", "exact_match", "finished", "diversity", "top_share", "one_for_all_accuracy", "parse_rate",
    "ideal_generalization", "solver_accuracy", "solver_generalization", "beam_accuracy", "beam_generalization", "beam_any",
    "cell_accuracy", "changed_cell_accuracy", "world_accuracy", "specification_accuracy", "teacher_cell_accuracy",
    "teacher_changed_cell_accuracy", "teacher_world_accuracy", "copy_cell_accuracy", "copy_world_accuracy",
    "copy_specification_accuracy", "frequent_cell_accuracy", "changed_cells",
)  # fmt: skip
_NUMBERS_OF_EVALUATION = (
    "loss", "mean_length", "reference_mean_length", "floor_loss", "floor_perplexity", "divergence", "excess_length", "written_loss",
    "loss_gap", "copy_output_loss", "drawn_distinct", "beam_log_probability", "uniform_cell_loss", "uniform_program_loss",
)  # fmt: skip
_PERPLEXITY = number(0, 1e308)
"""Of a model that is far off it is the exponential of hundreds of nats."""
_ENTROPY = number(0, 700)
_LOSSES = maybe(each(number(), most=MOST_NAMES))
_PASSES = maybe(keyed(_SHARE, digits))
_EVALUATION = table(
    {
        "step": _STEP,
        **dict.fromkeys(_SHARES_OF_EVALUATION, _SHARE),
        **dict.fromkeys(_NUMBERS_OF_EVALUATION, number()),
        **dict.fromkeys(("perplexity", "written_perplexity"), _PERPLEXITY),
        **dict.fromkeys(("unigram_input_loss", "unigram_output_loss", "unigram_program_loss"), _ENTROPY),
        **dict.fromkeys(("samples", "distinct_programs"), maybe(_COUNT)),
        **dict.fromkeys(("input_loss", "output_loss"), _LOSSES),
        **dict.fromkeys(("pass_at_k", "pass_at_k_generalization", "pass_at_k_prior"), _PASSES),
        "divergence_by_position": maybe(each(number())),
        "correct_lengths": maybe(keyed(_SHARE)),
        "by_reference_length": maybe(
            keyed(table({"samples": whole(1, 10**15), "correct": _COUNT}, ("samples", "correct")), digits)
        ),
        "by_written_length": maybe(keyed(table({"correct": _COUNT, "wrong": _COUNT}, ("correct", "wrong")), digits)),
        "by_program_length": maybe(keyed(keyed(_COUNT), digits)),
        "top_program": maybe(text),
        "one_for_all": maybe(text),
    }
)

_RANK_SHAPE = table(
    {
        "step": _STEP,
        "records": each(_RECORD),
        "labelings": keyed(each(each(name, least=1), least=1)),
    },
    ("step", "records", "labelings"),
)


def _rank(value: Any) -> None:
    _RANK_SHAPE(value)
    _few_names(value["records"], "records", ("feature", "depth", "offset"))


_BY_SEED = ("accuracy", "majority", "lift", "seen", "unseen")
_ROW = table(
    {
        **dict.fromkeys(("states", "feature", "depth", "semantics", "withhold", "learn_on"), name),
        "tokens": _OFFSET,
        "actions_back": _OFFSET,
        **dict.fromkeys(("accuracy", "majority"), each(_SHARE)),
        **dict.fromkeys(("lift", "seen", "unseen"), each(_DIFFERENCE)),
        "bits": each(number()),
    },
    ("states", "feature", "depth", "semantics", "withhold", "learn_on", "tokens", "actions_back", *_BY_SEED),
)
_LATENT_GRID_SHAPE = table(
    {"step": _STEP, "rows": each(_ROW), "notes": _NOTES, "actions": _COUNT}, ("rows", "notes", "actions")
)


def _latent_grid(value: Any) -> None:
    _LATENT_GRID_SHAPE(value)
    rows = value["rows"]
    _few_names(rows, "rows", ("feature", "depth", "semantics", "tokens"))
    for index, row in enumerate(rows):
        for key in _BY_SEED:
            if len(row[key]) != (seeds := len(rows[0]["unseen"])):
                raise Misfit(
                    f"has {len(row[key])} numbers, one for each seed; others have {seeds}", f".rows[{index}].{key}"
                )


_SHARES_OF_EDIT = ("obeys", "keeps", "damage", "equal")
_ENDS = ("", "_low", "_high")
_MEASURED = {f"{share}{end}": _SHARE for share in _SHARES_OF_EDIT for end in _ENDS}
_ODDS = {f"odds{end}": number() for end in (*_ENDS, "_share")}
_EDIT_PLACE: dict[str, Check] = {"kind": name, "layer": whole(0, 100_000), "group": name, "pairs": _COUNT}


def _present(check: Check) -> Check:
    """What fits, and is no null."""

    def check_present(value: Any) -> None:
        if value is None:
            raise Misfit("is null; this number is always there")
        check(value)

    return check_present


_OBEYS = {"obeys": _present(_SHARE), "obeys_low": _SHARE, "obeys_high": _SHARE}
_SWAP_SHAPE = {**_MEASURED, **_ODDS, **_EDIT_PLACE, **_OBEYS}
_SWAP = table(
    _SWAP_SHAPE, (*_EDIT_PLACE, *_OBEYS, "keeps", "damage", "equal", "odds", "odds_low", "odds_high", "odds_share")
)
_EXCHANGE: dict[str, Check] = {"method": name, "source": name, "rank": whole(1, 10**9), "control": flag}
_SUBSPACE = table(
    {**_SWAP_SHAPE, **_EXCHANGE, "read": _SHARE, "base": _SHARE}, (*_EDIT_PLACE, *_EXCHANGE, *_OBEYS, "keeps", "odds")
)
_SATISFIED = {"satisfied": _present(_SHARE), "satisfied_low": _SHARE, "satisfied_high": _SHARE}
_ERASED = table(
    {
        **_EDIT_PLACE, **_SATISFIED, "method": name, "layer": maybe(whole(0, 100_000)), "layers": each(whole(0, 100_000)),
        "read": _SHARE, "base": _SHARE, "variance": number(),
    },
    ("kind", "method", "layer", "layers", "pairs", *_SATISFIED, "read", "base"),
)  # fmt: skip
_OF_EXPERIMENT = {"interchange": _SWAP, "choice": _SWAP, "subspace": _SUBSPACE, "erasure": _ERASED}


def _edit(value: Any) -> None:
    """One record of what edits did. Those of earlier versions do not say of which experiment; they are not drawn."""
    table({"experiment": name})(value)
    if "experiment" in value:
        if value["experiment"] not in _OF_EXPERIMENT:
            raise Misfit(f"is {shown(value['experiment'])}; it is one of {', '.join(_OF_EXPERIMENT)}", ".experiment")
        _OF_EXPERIMENT[value["experiment"]](value)


_SITE = table({"layer": whole(0, 100_000), "group": name}, ("layer", "group"))
_STEERING_SHAPE = table(
    {"step": _STEP, "records": each(_edit), "sites": keyed(_SITE), "solved": keyed(_SHARE), "notes": _NOTES},
    ("step", "records"),
)


def _steering(value: Any) -> None:
    _STEERING_SHAPE(value)
    records = [record for record in value["records"] if "experiment" in record]
    _few_names(records, "records", ("kind", "layer"))
    for kind in {record["kind"] for record in records if record["experiment"] == "subspace"}:
        if kind not in value.get("sites", {}):
            raise Misfit("is missing", f".sites.{kind}")
    erased = [record for record in records if record["experiment"] == "erasure"]
    if erased and all(record["layer"] is None for record in erased):
        raise Misfit("has nothing that was erased at one layer", ".records")


_EXAMPLES = table({"step": _STEP, "examples": each(anything), "reader": text})

_CONTENTS: dict[str, Check] = {
    "evaluation": _EVALUATION, "examples": _EXAMPLES, "rank": _rank, "latent-grid": _latent_grid, "steering": _steering,
}  # fmt: skip
"""By kind; all others are probe scores."""

CONFIG_SHAPE = table({"experiment": table({"recipe": table({})})})
"""RUN/config.json."""


def checked(value: Mapping[str, Any], check: Check, where: str | Path) -> None:
    """Raises InputError, naming the file and the key, unless the object fits."""
    try:
        check(value)
    except Misfit as misfit:
        raise InputError(
            f"{where}: {misfit.place.lstrip('.')} {misfit.text}; restore the file, or remove it and make it again"
        ) from misfit


def check_result(value: Mapping[str, Any], kind: str, where: str | Path, step: int | None = None) -> None:
    """Raises InputError, naming the file and the key, unless the object is a result of this kind, and of this step if one is given.

    kind: a folder of the run: evaluation, probing, latent/space, ..
    """
    checked(value, _CONTENTS.get(kind, _probing), where)
    if step is not None and value.get("step", step) != step:
        raise InputError(f"{where}: step is {value['step']}, but the file's name says {step}; give it the right name")


def read_result(path: str | Path, kind: str) -> dict[str, Any]:
    """The result of this kind in a file. Errors as of `read_json` and `check_result`."""
    value = read_json(path)
    check_result(value, kind, path)
    return value
