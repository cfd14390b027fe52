"""Checks a word that a patch has added: `python check_extension.py turn_around`, in the patched tree.

Every backend runs, traces and samples it as the reference does; it is parsed and printed in both syntaxes, written as
tokens in every layout, read back, and allowed by the grammar. (Run by `.ci/extending`; not collected by pytest.)
"""

from __future__ import annotations

import sys

import numpy as np

import karel_fast as kf
from karel_fast import _core
from karel_fast.data.sampling.symbols import CONDITION, from_symbols
from karel_fast.karel.language import Action, Condition, to_source
from karel_fast.karel.language.vocabulary import ACTION_NAMES, CONDITION_NAMES, camel_case

WORD = sys.argv[1]
IS_ACTION = WORD in ACTION_NAMES
CALL = WORD if IS_ACTION else "move"
TEST = "front_is_clear" if IS_ACTION else WORD
SOURCES = (
    f"def run() {{ move(); {CALL}(); if ({TEST}()) {{ move(); turn_left() }}; put_marker() }}",
    f"def run() {{ repeat (3) {{ ifelse (not ({TEST}())) {{ turn_right() }} else {{ {CALL}(); move() }} }} }}",
    f"def run() {{ while ({TEST}()) {{ move(); {CALL}(); pick_marker() }}; {CALL}() }}",
    f"def run() {{ {CALL}(); move(); {CALL}(); put_marker() }}",
)
TRACE_FIELDS = ("actions", "robot", "markers_here", "front_clear", "left_clear", "right_clear", "steps", "status")


def equal_traces(programs: object, worlds: kf.Worlds, **options: object) -> kf.Trace:
    """The reference's trace, after every other backend's has been found equal, and their runs too."""
    ran, traced = (call(programs, worlds, backend="reference", **options) for call in (kf.run, kf.trace))
    for backend in kf.available_backends():
        other = kf.run(programs, worlds, backend=backend, **options)
        assert other.worlds == ran.worlds, backend
        np.testing.assert_array_equal(other.steps, ran.steps)
        np.testing.assert_array_equal(other.status, ran.status)
        trace = kf.trace(programs, worlds, backend=backend, **options)
        for name in TRACE_FIELDS:
            np.testing.assert_array_equal(getattr(trace, name), getattr(traced, name), err_msg=f"{backend}: {name}")
    return traced


def check_source() -> None:
    for source in SOURCES:
        program = kf.parse(source)
        tokens = to_source(program, "tokens")
        assert (WORD in str(program)) == (camel_case(WORD) in tokens) == (WORD in source)
        assert kf.parse(source.replace(WORD, camel_case(WORD))) == kf.parse(str(program)) == kf.parse(tokens) == program


def check_execution() -> None:
    worlds = kf.Worlds.random(60, seed=1)
    for source in SOURCES:
        for on_error in ("ignore", "crash"):
            equal_traces(source, worlds, on_error=on_error, max_steps=50)
        equal_traces(source, kf.Worlds.random(9, 9, 12, seed=2), max_steps=50)
    rng = np.random.default_rng(3)
    actions = rng.integers(0, len(Action), (200, 30)).astype(np.uint8)
    for longest in (8, 30):  # the kernel of short traces, and the interpreter
        compiled = kf.CompiledPrograms.from_actions(np.ascontiguousarray(actions[:, :longest]))
        trace = equal_traces(compiled, kf.Worlds.random(200, seed=4))
        assert set(np.unique(trace.actions)) == set(range(len(Action)))
    if IS_ACTION:
        equal_traces(SOURCES[3], worlds, semantics={WORD: "move", "move": WORD})


def recipes() -> list[kf.data.Recipe]:
    """Recipes that draw the word often."""
    weights = dict.fromkeys(ACTION_NAMES, 1) | ({WORD: 4} if IS_ACTION else {})
    control = kf.data.ControlFlow(
        while_weight=1, repeat_weight=1,
        condition_weights=dict.fromkeys(CONDITION_NAMES, 1) | ({} if IS_ACTION else {WORD: 4}),
    )  # fmt: skip
    straight = kf.data.Recipe(action_weights=weights, height=6, width=7, examples=2, held_out=1)
    looping = straight.replace(control=control)
    return [straight, straight.replace(avoid_noops=True), looping] if IS_ACTION else [looping]


def check_data() -> None:
    symbol = int(Action[WORD.upper()]) if IS_ACTION else CONDITION + int(Condition[WORD.upper()])
    for recipe in recipes():
        assert kf.data.Recipe.from_json(recipe.to_json()) == recipe
        samples = kf.data.generate(recipe, count=60, backend="reference")
        assert (samples.symbols == symbol).any(), "never drawn"
        for backend in kf.available_backends():
            other = kf.data.generate(recipe, count=60, backend=backend)
            np.testing.assert_array_equal(other.symbols, samples.symbols, err_msg=backend)
            assert (other.inputs, other.outputs) == (samples.inputs, samples.outputs), backend
        check_tokens(recipe, samples)


def check_tokens(recipe: kf.data.Recipe, samples: object) -> None:
    for layout in ("compact", "reference"):
        tokenizer = kf.data.Tokenizer(recipe, layout)
        rows = tokenizer.encode(samples, backend="reference")
        for backend in kf.available_backends():
            np.testing.assert_array_equal(
                tokenizer.encode(samples, backend=backend), rows, err_msg=f"{layout}: {backend}"
            )
            made = tokenizer.generate(split="train", start=0, count=len(samples), backend=backend)
            np.testing.assert_array_equal(
                made[0] if isinstance(made, tuple) else made, rows, err_msg=f"{layout}: {backend}"
            )
        grammar = tokenizer.grammar()
        for i, row in enumerate(rows):
            program = row[tokenizer.prompt_length :]
            state = grammar.start_state
            for token in program:
                assert grammar.allowed[state, token], f"{layout}: the grammar refuses sample {i}"
                state = grammar.next_state[state, token]
            ended = program[: int(np.flatnonzero(program == tokenizer.end_id)[0])]
            assert from_symbols(tokenizer.symbols(ended)) == samples.programs[i]
        assert WORD in "".join(tokenizer.decode(row) for row in rows)


def main() -> None:
    assert IS_ACTION or WORD in CONDITION_NAMES, f"the vocabulary has no {WORD}"
    actions, conditions = _core.vocabulary()
    assert actions == [(name, action.effect.byte) for name, action in zip(ACTION_NAMES, Action, strict=True)]
    assert conditions == [(name, word.sense.byte) for name, word in zip(CONDITION_NAMES, Condition, strict=True)]
    assert kf.available_backends() == ("cpp", "numba", "reference")
    check_source()
    check_execution()
    check_data()
    print(f"{WORD}: run, traced, sampled, written as tokens and read back, equally by every backend")


if __name__ == "__main__":
    main()
