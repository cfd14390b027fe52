"""Which tokens of a row are edited together, by what they show.

none           nothing: what the edit must not change
changed        the tokens in which the two rows of a pair differ
output robot   the robot in the output worlds, or the row of cells that it is in, where that is one token
input, output  the other cells of the input and output worlds
output world   both of the output
heads          the words before each world
written        of the actions that the model is given, those between the changed one and the last
last           the token that predicts the next action
example 1, ..  all of one example's tokens
elsewhere      all but the changed tokens
all            every token

Shapes: n pairs, T tokens.
"""

from __future__ import annotations

import numpy as np

from karel_fast.data import Tokenizer
from karel_fast.karel.world import ROBOT_SHOWN


def group_names(examples: int) -> tuple[str, ...]:
    """The groups there are for specifications of so many examples."""
    each = tuple(f"example {number + 1}" for number in range(examples))
    return (
        "none",
        "changed",
        "input",
        "output robot",
        "output",
        "output world",
        "heads",
        "written",
        "last",
        *each,
        "elsewhere",
        "all",
    )


def groups_of(tokenizer: Tokenizer, base: np.ndarray, other: np.ndarray) -> dict[str, np.ndarray]:
    """bool (n, T) for every group; base and other: the pairs' rows, integers (n, T), up to the token that predicts an action.

    A token is in one of `changed`, `input`, `output robot`, `output`, `heads`, `written` and `last`; the others are unions.
    Raises ValueError for rows of different lengths.
    """
    if base.shape != other.shape:
        raise ValueError(
            f"rows of shape {base.shape} and {other.shape} have no positions in common: pair equal lengths"
        )
    length, cells = base.shape[1], tokenizer.cell_positions
    examples = len(cells)

    def at(positions: np.ndarray) -> np.ndarray:
        mask = np.zeros(base.shape, bool)
        mask[:, positions.ravel()] = True
        return mask

    changed = base != other
    outputs = at(cells[:, 1])
    robot = np.zeros_like(changed)
    row, example, cell = np.nonzero(tokenizer.shown_cells(base)[:, :, 1] >= ROBOT_SHOWN)
    robot[row, cells[example, 1, cell]] = True
    last = at(np.array([length - 1]))
    program = at(np.arange(tokenizer.prompt_length, length)) & ~last
    starts = cells[:, 0, 0] - 1  # the word before an example
    ends: np.ndarray = np.append(starts[1:], cells[-1, 1, -1] + 1)
    masks = {
        "none": np.zeros_like(changed),
        "changed": changed,
        "output robot": robot & ~changed,
        "input": at(cells[:, 0]) & ~changed,
        "output": outputs & ~robot & ~changed,
        "written": program & ~changed,
        "last": last & ~changed,
    }
    covered = np.logical_or.reduce([*masks.values()])
    masks["heads"] = ~covered
    for number in range(examples):
        masks[f"example {number + 1}"] = at(np.arange(starts[number], ends[number]))
    masks["output world"] = masks["output robot"] | masks["output"]
    masks["elsewhere"], masks["all"] = ~changed, np.ones_like(changed)
    return {name: masks[name] for name in group_names(examples)}
