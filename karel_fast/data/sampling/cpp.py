"""The sampler in C++ (`csrc/karel/sampler.cpp`). Arguments and results as in `sampling.reference`."""

from karel_fast._core import sample_programs as programs
from karel_fast._core import sample_straight as straight
from karel_fast._core import sample_worlds as worlds

__all__ = ["programs", "straight", "worlds"]
