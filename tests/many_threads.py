"""Calls into the C++ core from several Python threads, each with several of its own: for ThreadSanitizer (`.ci/sanitize`).

Every thread must get what one thread alone gets.
"""

from __future__ import annotations

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor

import karel_fast as kf
from karel_fast.data.sampling.generation import generate
from karel_fast.data.sampling.recipe import ControlFlow, Recipe
from karel_fast.data.tokens.tokenizer import Tokenizer
from karel_fast.exact.solution import solve

ROUNDS = 40
STRAIGHT = Recipe(height=5, width=5, examples=2, held_out=1, lengths=(2, 5))
BRANCHING = Recipe(height=6, width=6, examples=2, held_out=1, control=ControlFlow())


def digest_of(start: int, threads: int) -> str:
    """Everything that the core makes of some samples, as one number."""
    found = hashlib.sha256()
    for recipe in (STRAIGHT, BRANCHING):
        samples = generate(recipe, "train", start, 50, threads=threads)
        ran = kf.run(samples.compiled, samples.inputs, threads=threads)
        traced = kf.trace(samples.compiled, samples.inputs, semantics="flip", threads=threads)
        arrays = [samples.symbols, ran.worlds.markers, ran.worlds.robot, ran.steps, traced.robot]
        arrays.append(Tokenizer(recipe).generate("train", start, 50, threads=threads))
        for array in arrays:
            found.update(array.tobytes())
    solution = solve(generate(STRAIGHT, "train", start, 20), threads=threads)
    found.update(solution.counts.tobytes() + solution.entropy.tobytes())
    return found.hexdigest()


def main() -> None:
    alone = [digest_of(start, 1) for start in range(ROUNDS)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda start: digest_of(start, 3), range(ROUNDS)))
    if alone != together:
        sys.exit("threads changed a result")
    print(f"{ROUNDS} rounds of calls from 4 threads of 3: the same as from one")


if __name__ == "__main__":
    main()
