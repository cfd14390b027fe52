"""The two parts of the robot's direction: which way it faced at first, and how it has turned since.

The turns stand in the program's text, the first direction in the specification alone. A model needs both to know a direction.
"""

import numpy as np

import karel_fast as kf


@kf.probing.feature(classes=4, names=("up", "right", "down", "left"))
def began(trace, worlds):
    """Which way the robot faced before the first action."""
    return np.repeat(trace.robot[:, :1, 2], trace.robot.shape[1], axis=1)


@kf.probing.feature(classes=4, names=("as at first", "right of it", "turned about", "left of it"))
def turned(trace, worlds):
    """The quarter turns to the right since the first action, modulo four."""
    direction = trace.robot[:, :, 2].astype(np.int64)
    return (direction - direction[:, :1]) % 4
