"""How a run ends, and how much thinking it may do for each action it may take."""

from enum import IntEnum

DECISIONS_PER_STEP = 16
"""A run of at most max_steps actions may take at most this many times max_steps decisions.

A decision is one evaluation of a condition, or one check of a repeat's counter (repeat(n) makes n + 1). The limit is
what ends a loop that never acts.
"""


class Status(IntEnum):
    """How a run ended; the value is the code in the status arrays.

    The action that crashed or met a limit is not performed and not counted.
    """

    OK = 0
    """The program came to its end."""
    CRASHED = 1
    """A blocked move or a pick on an empty cell, under on_error="crash"."""
    STEP_LIMIT = 2
    """Another action was due after max_steps actions, or another decision after 16 * max_steps decisions."""
    MARKER_LIMIT = 3
    """A put onto a cell that holds 255 markers."""
