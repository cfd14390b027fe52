"""From a run to its parts in one line: a model that writes or reads programs, their hidden states as arrays, and what is so there.

    lab = kf.load("runs/laptop")
    written = lab.write(lab.samples("test", start=0, count=500))
    states, labels = written.rows(), written.labels("direction")

Shapes: n programs, L actions of the longest, D width, E examples of a specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from karel_fast.data import Recipe, Samples, Tokenizer
from karel_fast.data import generate as generate_samples
from karel_fast.data.sampling.symbols import PAD
from karel_fast.data.tokens.interpreter import program_tokenizer
from karel_fast.karel.language import CompiledPrograms, Program, parse
from karel_fast.karel.world import Worlds
from karel_fast.model import Capture, Transformer
from karel_fast.model.capture import Point
from karel_fast.model.device import resolve_device
from karel_fast.probing.experiments import trace_programs
from karel_fast.probing.features import Feature, Setting, label_set, resolve_feature
from karel_fast.probing.states import forced_states, written_states
from karel_fast.runs.origin import model_folder, origin
from karel_fast.runs.snapshots import open_snapshot
from karel_fast.support.checks import InputError, whole
from karel_fast.training.generation import Written, generate
from karel_fast.training.written import satisfied


@dataclass(frozen=True, eq=False)
class States:
    """Programs, and the hidden states that predicted their actions.

    values: float32, its axes as `axes` names them: (n, L, D), or (n, L, layers, D); zeros where a program has no action.
    actions: uint8 (n, L) codes padded with 255. lengths: int32 (n,). inputs: the worlds that they ran on, n * E, example-minor.
    correct: bool (n,), whether every output is the specification's. layers: state numbers (0: the embedding), or None for the
    mean of all.
    """

    recipe: Recipe
    values: np.ndarray
    actions: np.ndarray
    lengths: np.ndarray
    inputs: Worlds
    correct: np.ndarray | None
    layers: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def axes(self) -> tuple[str, ...]:
        """What the axes of `values` are."""
        return ("program", "action", "width") if self.layers is None else ("program", "action", "layer", "width")

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """(program, action) of every row, int64 (rows,) each: one for each action that there is, in order."""
        program, action = np.nonzero(np.arange(self.actions.shape[1]) < self.lengths[:, None])
        return program, action

    def rows(self) -> np.ndarray:
        """float32 (rows, D), or (rows, layers, D): the states at `places`."""
        return self.values[self.places]

    def labels(
        self, feature: str | Feature, offset: int = 0, *, semantics: Any = "original", world: int = 0
    ) -> np.ndarray:
        """What a feature is in every row of `places`: (rows,), or (rows, heads) for a feature of several numbers; -1 where there is
        no such state.

        offset: 0 for the state after the predicted action, 1 for one action later, -1 before it. semantics: the meaning of the
        actions; "original" is the one that the recipe was made with. world: which example of each specification.
        Raises ValueError for an unknown feature or meaning, IndexError for an example that there is not.
        """
        examples = len(self.inputs) // max(1, len(self))
        if not 0 <= world < examples:
            raise IndexError(f"world {world}: the specifications have {examples} examples, from 0")
        chosen = resolve_feature(feature)
        worlds = self.inputs[np.arange(len(self)) * examples + world]
        trace = trace_programs(self.actions, self.lengths, worlds, self.recipe.meaning(semantics))
        setting = Setting(worlds.height, worlds.width, self.actions.shape[1])
        found = label_set(
            trace, (chosen,), offset, lengths=self.lengths, setting=setting, first_state=True, last_state=True
        )
        values = found[chosen.name][:, :, 0][self.places]
        return values[:, 0] if values.shape[1] == 1 else values


@dataclass(frozen=True, eq=False)
class Lab:
    """A model, its tokenizer and its recipe, as `load` opens them; it runs on the model's device, in float32."""

    model: Transformer
    tokenizer: Tokenizer
    recipe: Recipe
    path: Path

    def samples(self, split: str = "test", start: int = 0, count: int = 100) -> Samples:
        """Samples of the model's recipe (`karel_fast.data.generate`)."""
        return generate_samples(self.recipe, split, start, count)

    def write(
        self,
        specifications: Samples | Worlds,
        outputs: Worlds | None = None,
        *,
        layers: Literal["mean"] | Sequence[int] = "mean",
        point: Point = "resid_post",
        batch_size: int = 256,
        compile_model: bool = False,
    ) -> States:
        """Let the model write a program for each specification, greedily, and keep the states that predicted its actions.

        specifications: samples, or worlds before (recipe.examples of them in a row are a specification) with
        outputs: the worlds after. layers: "mean" of all states, or state numbers. point: "resid_post", the states; or what blocks
        1..N add to them, "attn_out" or "mlp_out" (see `karel_fast.model.Capture`).

        Raises InputError for worlds that make no specifications of this model.
        """
        whole("batch_size", batch_size, 1)
        samples = self._samples(specifications, outputs)
        capture = Capture(layers, point=point)
        actions, lengths, correct, _, values = written_states(
            self.model, self.tokenizer, samples, capture, batch_size, torch.float32, compile_model
        )
        return self._states(samples, values, actions, lengths, correct, capture)

    def generate(self, specifications: Samples | Worlds, outputs: Worlds | None = None, **settings: Any) -> Written:
        """Programs that the model writes, without states: greedily, drawn at random, or found by beam search.

        specifications, outputs: as for `write`. settings: temperature, top_p, draws, seed; or beam, length_penalty; grammar,
        batch_size, compile_model, as `karel_fast.training.generation.generate` has them, with its errors.
        """
        return generate(self.model, self.tokenizer, self._samples(specifications, outputs), **settings)

    def read(
        self,
        programs: Samples | Sequence[Program | str],
        inputs: Worlds | None = None,
        outputs: Worlds | None = None,
        *,
        layers: Literal["mean"] | Sequence[int] = "mean",
        point: Point = "resid_post",
        withhold: Literal["input", "space"] | None = None,
        batch_size: int = 256,
        compile_model: bool = False,
    ) -> States:
        """The states of the model as it reads given programs after their specifications.

        programs: samples, whose own programs are read; or programs or their source, one for each specification of `inputs` and
        `outputs` (by default what the programs make of the inputs). withhold: what stands in place of the outputs that are
        shown (Jin & Rinard, COLM 2024). layers, point: as for `write`.

        Raises InputError for programs with control flow or longer than the model's recipe has them, or worlds that make no
        specifications of this model.
        """
        whole("batch_size", batch_size, 1)
        if isinstance(programs, Samples):
            if inputs is not None or outputs is not None:
                raise InputError("samples bring their own inputs and outputs; leave inputs and outputs out")
            samples = self._samples(programs, None)
            actions, lengths = samples.actions, samples.lengths
        else:
            actions, lengths = self._rows(programs)
            if inputs is None:
                raise InputError(
                    "programs of one's own need inputs: the worlds before, recipe.examples for each program"
                )
            samples = self._samples(inputs, outputs if outputs is not None else self._after(actions, lengths, inputs))
            if len(samples) != len(lengths):
                raise InputError(f"{len(lengths)} programs for {len(samples)} specifications: give one for each")
        capture = Capture(layers, point=point)
        values = forced_states(
            self.model, self.tokenizer, samples, actions, lengths, capture,
            withhold=withhold, batch_size=batch_size, dtype=torch.float32, compile_model=compile_model,
        )  # fmt: skip
        correct, _ = satisfied(CompiledPrograms.from_actions(actions, lengths), samples)
        return self._states(samples, values, actions, lengths, correct, capture)

    states = read
    """Another name of `read`."""

    def _states(
        self,
        samples: Samples,
        values: np.ndarray,
        actions: np.ndarray,
        lengths: np.ndarray,
        correct: np.ndarray,
        capture: Capture,
    ) -> States:
        layers = None if isinstance(capture.layers, str) else tuple(capture.layers)
        return States(self.recipe, values, actions, lengths, samples.shown()[0], correct, layers)

    def _samples(self, specifications: Samples | Worlds, outputs: Worlds | None) -> Samples:
        """The shown examples as samples of the tokenizer's recipe, without held-out ones."""
        if isinstance(specifications, Samples):
            if outputs is not None:
                raise InputError("samples bring their own outputs; leave outputs out")
            if not len(specifications):
                raise InputError("there are no samples; give at least one")
            return specifications
        if outputs is None:
            raise InputError("worlds of one's own need outputs: the worlds after")
        recipe, count = self.recipe.replace(held_out=0), self.recipe.examples
        for name, worlds in (("inputs", specifications), ("outputs", outputs)):
            if not isinstance(worlds, Worlds):
                raise InputError(
                    f"{name} are {type(worlds).__name__}; make them Worlds, for example by Worlds.from_text"
                )
            if (worlds.height, worlds.width) != (recipe.height, recipe.width):
                raise InputError(
                    f"{name} have {worlds.height} x {worlds.width} cells; this model was trained on {recipe.height} x {recipe.width}"
                )
        if len(specifications) != len(outputs) or len(specifications) % count or not len(specifications):
            raise InputError(
                f"{len(specifications)} inputs and {len(outputs)} outputs: give as many of both, {count} for each specification"
            )
        n = len(specifications) // count
        symbols = np.full((n, recipe.symbol_width), PAD, np.uint8)
        return Samples(recipe, "test", 0, symbols, np.zeros(n, np.int32), specifications, outputs)

    def _rows(self, programs: Sequence[Program | str]) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(programs, str | Program) or not isinstance(programs, Sequence):  # text is one of letters
            raise InputError(
                f"programs are {type(programs).__name__}; give a list, of one program for each specification"
            )
        for i, program in enumerate(programs):
            if not isinstance(program, str | Program):
                raise InputError(f"program {i} is {type(program).__name__}; give programs, or their source as text")
        longest = self.recipe.symbol_width
        rows = np.full((len(programs), longest), PAD, np.uint8)
        lengths = np.zeros(len(programs), np.int32)
        for i, program in enumerate(programs):
            actions = (parse(program) if isinstance(program, str) else program).actions
            if actions is None:
                raise InputError(
                    f"program {i} has control flow: only straight-line programs have a state for each action"
                )
            if len(actions) > longest:
                raise InputError(f"program {i} has {len(actions)} actions; this model's recipe has at most {longest}")
            rows[i, : len(actions)], lengths[i] = actions, len(actions)
        return rows, lengths

    def _after(self, actions: np.ndarray, lengths: np.ndarray, inputs: Worlds) -> Worlds:
        from karel_fast.karel.execution import run

        if not len(lengths) or len(inputs) != len(lengths) * self.recipe.examples:
            raise InputError(
                f"{len(lengths)} programs on {len(inputs)} inputs: give {self.recipe.examples} for each program"
            )
        return run(CompiledPrograms.from_actions(actions, lengths), inputs, semantics=self.recipe.semantics).worlds


def load(
    path: str | Path,
    *,
    step: int | None = None,
    recipe: Recipe | None = None,
    layout: str | None = None,
    device: str = "auto",
) -> Lab:
    """Open a run (its last snapshot, or the one of `step`), a snapshot, or a CodeGen folder from elsewhere.

    recipe: what the model was trained on, where its folder does not say so. layout: as the recipe; where it is not given, it is
    found by the vocabulary.

    Raises FileNotFoundError or ValueError for a folder that holds no such model, InputError for one that does not say what it was
    trained on, a step that there is not, or a vocabulary that is not the recipe's.
    """
    folder = model_folder(path, step)
    recipe, layout = origin(folder, recipe, layout)
    tokenizer = program_tokenizer(recipe, layout)
    model = open_snapshot(folder, tokenizer)
    model.check_length(tokenizer.sequence_length)
    return Lab(model.to(resolve_device(device)).eval(), tokenizer, recipe, folder)
