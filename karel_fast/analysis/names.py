"""What features and depths are called in words."""

from __future__ import annotations

TITLES = {
    "direction": "Direction",
    "position": "Position",
    "facing": "Facing a wall",
    "absolute": "Cell",
    "from_end": "Offset from the end",
    "walls": "Walls ahead, left, right",
    "walls_around": "Walls in four directions",
    "markers": "Markers here",
    "steps_left": "Steps left",
}
DEPTH_TITLES = {"linear": "linear", "mlp1": "1 hidden layer", "mlp2": "2 hidden layers"}
