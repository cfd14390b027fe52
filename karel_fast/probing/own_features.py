"""Features of one's own: a function of a trace, and of the worlds that it began in, becomes what probes are asked to read.

@kf.probing.feature
def beside_wall(trace, worlds):
    "whether a wall is to the robot's left or right"
    return ~(trace.left_clear & trace.right_clear)
"""

from __future__ import annotations

import hashlib
import linecache
import marshal
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, overload

import numpy as np

from karel_fast.karel.world import Worlds
from karel_fast.probing.features import FEATURES, MASKED, Feature, Setting, TraceArrays
from karel_fast.support.checks import InputError, whole
from karel_fast.support.plugins import is_plugin, where_it_failed

MOST_CLASSES = 2**15 - 1  # labels are int16 at most

LabelFunction = Callable[[Any, Worlds], Any]
"""(trace, worlds) -> int or bool (N, S+1), or (N, S+1, heads): the label of every state of N runs, -1 where there is none.

`trace` is a `karel_fast.Trace`: state t is that after t actions, and past a run's end its last state repeats. `worlds` are the N
worlds before the first action; `trace.worlds_at(t)` are those after t actions.
"""

Classes = int | Callable[[Setting], int]


@overload
def feature(function: LabelFunction) -> Feature: ...
@overload
def feature(
    function: None = None,
    *,
    classes: Classes = 2,
    heads: Sequence[str] = ("value",),
    names: Sequence[str] | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Callable[[LabelFunction], Feature]: ...
def feature(
    function: LabelFunction | None = None,
    *,
    classes: Classes = 2,
    heads: Sequence[str] = ("value",),
    names: Sequence[str] | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Feature | Callable[[LabelFunction], Feature]:
    """Make a feature of a function, see `LabelFunction`; from then on it is there by name, as those of karel_fast are.

    classes: how many labels each number has, from 0; or a function of the `Setting` (height, width, max_actions). heads: names
    of the numbers, where the function returns several for each state. names: of the labels, for people. name, description: by
    default the function's own, and the first line of its docstring.

    Raises ValueError for a name that karel_fast has, or another file, or settings that do not fit together.
    """

    def made(function: LabelFunction) -> Feature:
        own = _feature(function, classes, heads, names, name, description)
        _register(own, function)
        return own

    return made if function is None else made(function)


def _feature(
    function: LabelFunction,
    classes: Classes,
    heads: Sequence[str],
    names: Sequence[str] | None,
    name: str | None,
    description: str | None,
) -> Feature:
    if not callable(function):
        raise TypeError(f"a feature is made of a function (trace, worlds), not of {function!r}")
    name = getattr(function, "__name__", "") if name is None else name
    if not re.fullmatch(r"[A-Za-z]\w*", name):
        raise ValueError(f"feature {name!r}: give a name of letters, digits and _ by name=")
    if not heads or isinstance(heads, str):
        raise ValueError(f"feature {name!r}: heads is {heads!r}; give a list of names")
    if not callable(classes):
        number = whole(f"feature {name!r}: classes", classes, 2, MOST_CLASSES)
        if names is not None and len(names) != number:
            raise ValueError(f"feature {name!r} has {number} classes and {len(names)} names of them; give one for each")
    own_words = function.__doc__ if hasattr(function, "__name__") else None  # else it is its class's
    said = (text.strip() for text in (description, own_words) if text)
    first = next((text for text in said if text), name.replace("_", " ")).splitlines()[0]
    counted = partial(_classes, name, classes)
    return Feature(
        name=name,
        heads=tuple(heads),
        description=first.rstrip("."),
        classes=counted,
        _fill=partial(_fill, name, function, counted),
        _names=partial(_named, None if names is None else tuple(names)),
        of_state=False,  # not known: `ceilings.why_none` finds it out
        sees_markers=True,
        source=_source(function),
    )


def _register(own: Feature, function: LabelFunction) -> None:
    earlier = FEATURES.get(own.name)
    if earlier is not None and not earlier.source:
        raise ValueError(f"feature {own.name!r} is one of karel_fast's own; give yours another name")
    before, now = _PLACES.get(own.name, ""), _place(function)
    if before != now and is_plugin(before) and is_plugin(now):
        raise ValueError(f"feature {own.name!r} is defined in {before} already; give one of them another name")
    FEATURES[own.name], _PLACES[own.name] = own, now


_PLACES: dict[str, str] = {}  # from a feature's name to the file it came from


def _place(function: LabelFunction) -> str:
    code = getattr(function, "__code__", None)
    return "" if code is None else code.co_filename


def _source(function: LabelFunction) -> str:
    """16 digits that change with the file, or notebook cell, that a function stands in: what it calls may stand there, too."""
    text = "".join(linecache.getlines(_place(function)))
    code = getattr(function, "__code__", None)
    known = text.encode() if text else marshal.dumps(code) if code is not None else repr(function).encode()
    return hashlib.sha256(known).hexdigest()[:16]


def _classes(name: str, classes: Classes, setting: Setting) -> int:
    found = classes(setting) if callable(classes) else classes
    return whole(f"feature {name!r}: classes", found, 2, MOST_CLASSES)


def _named(names: tuple[str, ...] | None, label: int, setting: Setting) -> str:
    return str(label) if names is None or label >= len(names) else names[label]


def _fill(
    name: str,
    function: LabelFunction,
    classes: Callable[[Setting], int],
    trace: TraceArrays,
    window: slice,
    lengths: np.ndarray,
    setting: Setting,
    out: np.ndarray,
) -> None:
    try:
        found = function(trace, trace.start)
        values = np.asarray(found)
        if isinstance(found, np.ma.MaskedArray):  # filled() would make true of a masked truth value
            values = np.where(np.ma.getmaskarray(found), np.int64(MASKED), values)
    except Exception as error:
        place = where_it_failed(error, _place(function))
        raise InputError(f"feature {name!r} failed at {place}: {type(error).__name__}: {error}") from error
    heads, states = len(out), trace.robot.shape[:2]
    if values.shape == states and heads == 1:
        values = values[..., None]
    if values.shape != (*states, heads):
        wanted = f"{states}, one label for each state" if heads == 1 else f"{(*states, heads)}, {heads} for each state"
        raise InputError(f"feature {name!r} gave an array of shape {values.shape}; make it {wanted} of each run")
    if values.dtype.kind not in "biu":
        raise InputError(f"feature {name!r} gave {values.dtype}; give whole numbers, or true and false")
    most = classes(setting)
    outside = values[(values < MASKED) | (values >= most)] if values.dtype.kind != "b" else values[:0]
    if outside.size:
        raise InputError(
            f"feature {name!r} gave the label {outside.flat[0]}; with {most} classes labels are 0 to {most - 1}, "
            "or -1 where there is none (classes= says how many)"
        )
    out[...] = np.moveaxis(values[:, window], 2, 0)
