"""The words that a reader of the page needs, a short paragraph each."""

from __future__ import annotations

WORDS = (
    (
        "Karel",
        "A robot in a small grid of cells. A cell is empty, a wall, or holds markers. The robot can move ahead, turn left, turn right, "
        "pick a marker up and put one down. A program is a list of these actions.",
    ),
    (
        "Specification",
        "A few pairs of worlds: how each looked before a program ran, and after. The model reads the pairs and writes a program. The "
        "specification is satisfied if that program turns every first world into its second. The states in between are never shown.",
    ),
    (
        "Probe",
        "A small classifier. It sees nothing but the numbers inside the model at the moment it chose an action, and must say, for "
        "example, where the robot now faces. Its score counts only above two controls: always giving the most frequent answer, and the "
        "same probe on a model that was never trained.",
    ),
    (
        "Flip and adversarial",
        "Other meanings for the same text. Under flip, turn_left turns right and the other way round. Under adversarial, every action "
        "does another one's work; map0 to map11 are further ones of the authors. Fresh probes learn to read the states of those runs. A "
        "probe that works the answer out by itself can do so for any meaning. What the model worked out is of the meaning it was "
        "trained on, so there a probe should find more.",
    ),
    (
        "Lift",
        "Right answers above the most frequent answer, in points. Some questions are easy: a robot that seldom moves mostly stands "
        "where it began. So accuracies of different questions or meanings cannot be compared, but lifts can.",
    ),
)
"""(word, what it means)"""
