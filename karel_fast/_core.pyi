"""The compiled core. Arrays must have exactly these dtypes, C order and matching shapes; everything is checked at the border."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karel_fast.data.sampling.plan import Plan
from karel_fast.data.tokens.layout import Layout
from karel_fast.exact.ideal_states import Question, StateCodes
from karel_fast.exact.problem import Problem

def run(
    content: NDArray[np.uint8] | NDArray[np.int64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    slots: int,
    straight_line: bool,
    walls: NDArray[np.bool_],
    markers: NDArray[np.uint8],
    robot: NDArray[np.uint8],
    performed: NDArray[np.uint8],
    max_steps: int,
    crash: bool,
    threads: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint8]]:
    """Markers, robot, steps and status after the runs."""

def trace(
    content: NDArray[np.uint8] | NDArray[np.int64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    slots: int,
    straight_line: bool,
    walls: NDArray[np.bool_],
    markers: NDArray[np.uint8],
    robot: NDArray[np.uint8],
    performed: NDArray[np.uint8],
    max_steps: int,
    crash: bool,
    threads: int,
    width: int,
) -> tuple[
    NDArray[np.int8],
    NDArray[np.uint8],
    NDArray[np.uint8],
    NDArray[np.bool_],
    NDArray[np.bool_],
    NDArray[np.bool_],
    NDArray[np.int32],
    NDArray[np.uint8],
]:
    """Actions, robot, markers_here, front, left and right clear, steps and status; `width` columns of actions."""

def vocabulary() -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The actions, then the conditions: each word's name and meaning (`Effect.byte` and `Sense.byte`), by code."""

def instruction_set() -> str:
    """The instruction set of the kernels in use."""

def instruction_sets() -> list[str]:
    """Those that this binary has kernels for and this processor runs, the best last."""

def sample_straight(plan: Plan, start: int, count: int, threads: int) -> tuple[NDArray[Any], ...]:
    """Symbols, lengths (-1: no program found), walls, markers, robot, and the markers and robot after the runs."""

def sample_worlds(
    plan: Plan, start: int, count: int, threads: int
) -> tuple[NDArray[np.bool_], NDArray[np.uint8], NDArray[np.uint8]]:
    """Walls, markers and robot."""

def sample_programs(
    plan: Plan, indices: NDArray[np.int64], attempts: NDArray[np.int64], threads: int
) -> tuple[NDArray[Any], ...]:
    """Symbols, lengths (-1: no program found) and the attempts used."""

def sample_tokens(
    plan: Plan, layout: Layout, row_length: int, wide: bool, start: int, count: int, threads: int
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Token rows, uint16 if `wide` else uint8, and the programs' lengths in symbols (-1: no program found)."""

def encode_samples(
    layout: Layout,
    row_length: int,
    wide: bool,
    examples: int,
    symbols: NDArray[np.uint8],
    lengths: NDArray[np.int32],
    walls: NDArray[np.bool_],
    markers: NDArray[np.uint8],
    robot: NDArray[np.uint8],
    out_walls: NDArray[np.bool_],
    out_markers: NDArray[np.uint8],
    out_robot: NDArray[np.uint8],
    threads: int,
) -> NDArray[Any]:
    """Token rows, uint16 if `wide` else uint8."""

def pack_samples(
    examples: int,
    walls: NDArray[np.bool_],
    markers: NDArray[np.uint8],
    robot: NDArray[np.uint8],
    out_markers: NDArray[np.uint8],
    out_robot: NDArray[np.uint8],
    threads: int,
) -> tuple[NDArray[np.uint8], ...]:
    """The columns walls, markers, robot, output_markers and output_robot of `karel_fast.data.storage.packing`."""

def philox(seed: int, counters: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    """Philox4x32-10 of each counter (n, 4): as words by the one-block code, as 16-bit values by the many-block code.

    The many-block code takes the last two words of every counter from the first row.
    """

def solve(problem: Problem, max_states: int, threads: int) -> dict[str, NDArray[Any]]:
    """The arrays of `karel_fast.exact.Solution`, by their names there."""

def solve_graph(problem: Problem, specification: int, max_states: int) -> dict[str, NDArray[Any]]:
    """The arrays of `karel_fast.exact.Graph`, by their names there."""

def solve_along(
    problem: Problem, actions: NDArray[np.uint8], lengths: NDArray[np.int32], max_states: int, threads: int
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Posteriors (n, L+1, 6) after every prefix of one program per specification, and the longest prefix of a satisfying one."""

def read_specifications(
    problem: Problem, states: StateCodes, question: Question, max_states: int, threads: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Right and loss of the reader of specification and prefix, then of the one of the specification: (n, K, M, J, F)."""

def read_prefixes(
    pool: Problem, states: StateCodes, question: Question, max_states: int, threads: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right and loss of the reader of the prefix: (n, K, M, J, F)."""
