"""What a probe is asked to read from a hidden state: labels taken from program traces, as arrays.

Shapes: n programs, E worlds per program, L actions at most, S steps at most, H heads of a feature. A trace of n
programs on E worlds each has N = n * E runs, example-minor: run i * E + e is program i on its world e.

The label rule is that of the original experiment. At offset 0 the hidden state which predicted action k (k counts
from 0) is paired with the program state *after* that action, state k + 1 of the trace; at offset j with state k + 1 +
j: j > 0 looks ahead, j < 0 back. Two states can be read off the specification, the one before the first action (state
0) and the one after the last (state `length`), so both are masked unless asked for.

Labels are stored with runs and actions innermost, the order in which a trace lies in memory, so that every step below
is one pass over whole arrays; what callers get is the transposed view (n, L, E, H).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from karel_fast.karel.backends.reference import AHEAD
from karel_fast.karel.language.vocabulary import DIRECTION_NAMES
from karel_fast.karel.world import Worlds
from karel_fast.support.checks import nearest

MASKED = -1
"""The label of a position without one: past the program's end, outside the trace, or left out by choice."""

MOST_MARKERS = 9
"""Marker counts of `markers_here` saturate here, as in the worlds' text form."""


class TraceArrays(Protocol):
    """The part of a `karel_fast.trace` result that labels are made of."""

    @property
    def robot(self) -> np.ndarray: ...  # uint8 (N, S+1, 3): row, column, direction
    @property
    def markers_here(self) -> np.ndarray: ...  # uint8 (N, S+1)
    @property
    def front_clear(self) -> np.ndarray: ...  # bool (N, S+1)
    @property
    def left_clear(self) -> np.ndarray: ...  # bool (N, S+1)
    @property
    def right_clear(self) -> np.ndarray: ...  # bool (N, S+1)
    @property
    def steps(self) -> np.ndarray: ...  # int32 (N,)
    @property
    def walls(self) -> np.ndarray: ...  # bool (N, height, width)
    @property
    def start(self) -> Worlds: ...  # the N worlds before the first action


@dataclass(frozen=True, slots=True)
class Setting:
    """What class counts depend on: the worlds' height and width in cells, and the most actions of a program."""

    height: int
    width: int
    max_actions: int

    @property
    def reach(self) -> int:
        """The longest way along one axis inside the outer walls, in cells."""
        return max(self.height, self.width) - 3


Fill = Callable[[TraceArrays, slice, np.ndarray, Setting, np.ndarray], None]
"""(trace, window of states, lengths per run (N,), setting, out): writes the labels of the window's T states into out (H, N, T)."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One property of a program state.

    `heads` name the numbers that describe it (column and row, say): a probe answers each for each world of the
    specification. `classes(setting)` is the number of classes of each head. `description` is one line for people.
    `of_state`: whether a state, with the world before the program, says it all; else it is about how the program goes on
    or came there; of a feature of one's own it is found out, see `ceilings.why_none`. `sees_markers`: whether markers have a
    say in it. `source`: of a feature of one's own, what it was made from (see `own_features`); empty for those of karel_fast.
    """

    name: str
    heads: tuple[str, ...]
    description: str
    classes: Callable[[Setting], int]
    _fill: Fill
    _names: Callable[[int, Setting], str]
    of_state: bool = True
    sees_markers: bool = False
    source: str = ""

    def class_name(self, label: int, setting: Setting) -> str:
        """The label as a person would say it."""
        return "-" if label == MASKED else self._names(int(label), setting)


HeadFill = Callable[[TraceArrays, int, slice, np.ndarray, Setting, np.ndarray], None]


def _by_head(
    one: HeadFill, trace: TraceArrays, window: slice, lengths: np.ndarray, setting: Setting, out: np.ndarray
) -> None:
    for head, plane in enumerate(out):
        one(trace, head, window, lengths, setting, plane)


def _each(one: HeadFill) -> Fill:
    return partial(_by_head, one)


# Each of these writes one head's labels of the states `window` into `out` (N, T); `lengths` is per run (N,).


def _direction(
    trace: TraceArrays, head: int, window: slice, lengths: np.ndarray, setting: Setting, out: np.ndarray
) -> None:
    np.copyto(out, trace.robot[:, window, 2])


def _from_start(
    trace: TraceArrays, head: int, window: slice, lengths: np.ndarray, setting: Setting, out: np.ndarray
) -> None:
    axis = 1 - head  # head 0 is the column, which robot stores second
    origin = trace.robot[:, 0, axis].astype(np.int16) - setting.reach
    np.subtract(trace.robot[:, window, axis], origin[:, None], out=out, dtype=np.int16, casting="unsafe")


def _from_end(
    trace: TraceArrays, head: int, window: slice, lengths: np.ndarray, setting: Setting, out: np.ndarray
) -> None:
    axis = 1 - head
    # Past a run's end a trace repeats its final state, so the last column is the end of every run.
    origin = trace.robot[:, -1, axis].astype(np.int16) - setting.reach
    np.subtract(trace.robot[:, window, axis], origin[:, None], out=out, dtype=np.int16, casting="unsafe")


def _cell(trace: TraceArrays, head: int, window: slice, lengths: np.ndarray, setting: Setting, out: np.ndarray) -> None:
    np.subtract(trace.robot[:, window, 1 - head], np.int16(1), out=out, dtype=np.int16, casting="unsafe")


def _facing(
    trace: TraceArrays, head: int, window: slice, lengths: np.ndarray, setting: Setting, out: np.ndarray
) -> None:
    np.logical_not(trace.front_clear[:, window], out=out, casting="unsafe")


def _walls(
    trace: TraceArrays, head: int, window: slice, lengths: np.ndarray, setting: Setting, out: np.ndarray
) -> None:
    clear = (trace.front_clear, trace.left_clear, trace.right_clear)[head]
    np.logical_not(clear[:, window], out=out, casting="unsafe")


def _walls_around(
    trace: TraceArrays, head: int, window: slice, lengths: np.ndarray, setting: Setting, out: np.ndarray
) -> None:
    row, column = (trace.robot[:, window, axis].astype(np.intp) for axis in (0, 1))
    down, right = AHEAD[head]
    np.copyto(out, trace.walls[np.arange(len(row))[:, None], row + down, column + right], casting="unsafe")


def _markers(
    trace: TraceArrays, head: int, window: slice, lengths: np.ndarray, setting: Setting, out: np.ndarray
) -> None:
    np.minimum(trace.markers_here[:, window], np.uint8(MOST_MARKERS), out=out, casting="unsafe")


def _steps_left(
    trace: TraceArrays, head: int, window: slice, lengths: np.ndarray, setting: Setting, out: np.ndarray
) -> None:
    states = np.arange(window.start, window.start + out.shape[1], dtype=np.int16)
    np.subtract(lengths.astype(np.int16)[:, None], states[None, :], out=out, casting="unsafe")


def _compass(label: int, setting: Setting) -> str:
    return DIRECTION_NAMES[label]


def _signed(label: int, setting: Setting) -> str:
    return f"{label - setting.reach:+d}"


def _wall(label: int, setting: Setting) -> str:
    return ("clear", "wall")[label]


def _one_based(label: int, setting: Setting) -> str:
    return str(label + 1)


def _plain(label: int, setting: Setting) -> str:
    return str(label)


DIRECTION = Feature("direction", ("direction",), "where the robot faces", lambda s: 4, _each(_direction), _compass)
POSITION = Feature(
    "position",
    ("column", "row"),
    "the robot's offset from where it started, in cells",
    lambda s: 2 * s.reach + 1,
    _each(_from_start),
    _signed,
)
FACING = Feature("facing", ("front",), "whether a wall is right ahead", lambda s: 2, _each(_facing), _wall)
ABSOLUTE = Feature(
    "absolute",
    ("column", "row"),
    "the robot's cell",
    lambda s: s.reach + 1,
    _each(_cell),
    _one_based,
)
FROM_END = Feature(
    "from_end",
    ("column", "row"),
    "the robot's offset from where the program ends, in cells",
    lambda s: 2 * s.reach + 1,
    _each(_from_end),
    _signed,
    of_state=False,
)
WALLS = Feature(
    "walls",
    ("front", "left", "right"),
    "walls ahead, to the left and to the right: what Karel's conditions can see",
    lambda s: 2,
    _each(_walls),
    _wall,
)
WALLS_AROUND = Feature(
    "walls_around",
    DIRECTION_NAMES,
    "walls to the north, east, south and west, wherever the robot faces",
    lambda s: 2,
    _each(_walls_around),
    _wall,
)
MARKERS = Feature(
    "markers", ("count",), "markers under the robot, nine or more as one", lambda s: MOST_MARKERS + 1, _each(_markers), _plain,
    sees_markers=True,
)  # fmt: skip
STEPS_LEFT = Feature(
    "steps_left", ("count",), "actions still to be written", lambda s: s.max_actions + 1, _each(_steps_left), _plain,
    of_state=False,
)  # fmt: skip

FEATURES: dict[str, Feature] = {
    f.name: f for f in (DIRECTION, POSITION, FACING, ABSOLUTE, FROM_END, WALLS, WALLS_AROUND, MARKERS, STEPS_LEFT)
}
PAPER_FEATURES = ("direction", "position", "facing")
"""The three of Jin & Rinard (ICML 2024), section 4."""
CODE_FEATURES = ("direction", "position", "from_end", "facing", "absolute", "walls_around")
"""The six of their published code, in its order (charlesjin/emergent-semantics, probe/dataset.py)."""


def resolve_feature(feature: str | Feature) -> Feature:
    """The feature of that name. Raises ValueError for an unknown one."""
    if isinstance(feature, Feature):
        return feature
    try:
        return FEATURES[feature]
    except KeyError:
        raise ValueError(
            f"unknown feature {feature!r} (one of your own comes from a file: --plugin FILE); {nearest(str(feature), FEATURES)}"
        ) from None


def sources_of(features: Iterable[str]) -> dict[str, dict[str, str]]:
    """`{"own_features": {name: source}}` of the features of one's own among these, or nothing: what results are kept with, so
    that those of a changed feature are not taken for its.
    """
    own = {name: FEATURES[name].source for name in features if FEATURES[name].source}
    return {"own_features": own} if own else {}


def inside(
    lengths: np.ndarray, max_actions: int, offset: int = 0, *, first_state: bool = False, last_state: bool = False
) -> np.ndarray:
    """Which actions of programs of these lengths (n,) have a state at `offset` that is asked for: bool (n, L)."""
    states = np.arange(1 + offset, 1 + offset + max_actions)
    low, high = (0 if first_state else 1), (0 if last_state else -1)
    actions = np.arange(max_actions)
    return (states >= low) & (states <= lengths[:, None] + high) & (actions < lengths[:, None])


def kept(
    trace: TraceArrays,
    lengths: np.ndarray,
    max_actions: int,
    offset: int = 0,
    *,
    first_state: bool = False,
    last_state: bool = False,
) -> np.ndarray:
    """Which (program, action, world) positions have a label at `offset`: bool (n, L, E), a view of (n, E, L) memory."""
    lengths, examples = _checked(trace, lengths, max_actions)
    by_program = inside(lengths, max_actions, offset, first_state=first_state, last_state=last_state)
    # A run that stopped at a limit or crashed has no state after its last step, though its arrays repeat that one.
    steps = np.asarray(trace.steps).reshape(-1, examples)
    if np.array_equal(steps, np.broadcast_to(lengths[:, None], steps.shape)):
        by_run = np.broadcast_to(by_program[:, None, :], (len(lengths), examples, max_actions))
    else:
        by_run = by_program[:, None, :] & (np.arange(1 + offset, 1 + offset + max_actions) <= steps[:, :, None])
    return by_run.transpose(0, 2, 1)


def label_set(
    trace: TraceArrays,
    features: tuple[str | Feature, ...],
    offset: int = 0,
    *,
    lengths: np.ndarray,
    setting: Setting,
    first_state: bool = False,
    last_state: bool = False,
) -> dict[str, np.ndarray]:
    """Labels by feature's name: int8 (int16 above 128 classes) (n, L, E, heads), -1 where there is none.

    `trace` holds n * E runs, example-minor; `lengths` (n,) are the programs' actions, at most `setting.max_actions` =
    L. `offset` is in actions: 0 the state after the action, +j that many later, -j earlier. `first_state` and
    `last_state` keep the states before the first and after the last action, which the specification shows. Raises
    ValueError for arrays that do not fit together.
    """
    max_actions = setting.max_actions
    mask = kept(trace, lengths, max_actions, offset, first_state=first_state, last_state=last_state)
    lengths, examples = _checked(trace, lengths, max_actions)
    run_lengths = np.repeat(lengths, examples)
    # Or-ing with -1 gives -1, with 0 nothing changes: cheaper than a conditional copy.
    blank = -(~mask.transpose(0, 2, 1)).astype(np.int8).reshape(-1, max_actions)

    # States outside the trace are masked, so only the window that exists is read.
    start = max(1 + offset, 0)
    stop = min(1 + offset + max_actions, trace.robot.shape[1])
    at = start - (1 + offset)
    size = max(stop - start, 0)
    result = {}
    for feature in map(resolve_feature, features):
        heads = len(feature.heads)
        # One byte where it can hold every class: filling memory is most of the work.
        dtype = np.int8 if feature.classes(setting) <= 128 else np.int16
        values = np.empty((heads, len(run_lengths), max_actions), dtype)
        if size:
            feature._fill(trace, slice(start, stop), run_lengths, setting, values[:, :, at : at + size])
        for plane in values:
            plane |= blank
            if size < max_actions:
                plane[:, :at] = MASKED
                plane[:, at + size :] = MASKED
        result[feature.name] = values.reshape(heads, len(lengths), examples, max_actions).transpose(1, 3, 2, 0)
    return result


def _checked(trace: TraceArrays, lengths: np.ndarray, max_actions: int) -> tuple[np.ndarray, int]:
    lengths = np.asarray(lengths)
    runs = len(trace.robot)
    if lengths.ndim != 1 or lengths.size == 0:
        raise ValueError(f"lengths must be one number per program, got an array of shape {lengths.shape}")
    if runs % len(lengths):
        raise ValueError(
            f"{runs} traced runs are no whole number of worlds for each of {len(lengths)} programs; "
            "trace every program on the same number of worlds"
        )
    if int(lengths.max()) > max_actions or int(lengths.min()) < 0:
        raise ValueError(
            f"program lengths run from {lengths.min()} to {lengths.max()}, outside 0..{max_actions} "
            "(setting.max_actions)"
        )
    return lengths, runs // len(lengths)
