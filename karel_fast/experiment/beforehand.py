"""What of an experiment can only fail after hours of training, looked at before its folder is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from karel_fast.support.checks import InputError, whole

if TYPE_CHECKING:
    from karel_fast.data import Tokenizer
    from karel_fast.experiment.preset import Preset

# torch and transformers take seconds to load, so the checks import what they need when they run.


def check_beforehand(preset: Preset, tokenizer: Tokenizer) -> None:
    """Raise InputError, naming the table, for settings that fit none of the others; OSError for a file that cannot be read.

    Once the folder is made it holds this experiment: a mistake that shows later costs the training, and another folder.
    """
    from karel_fast.data.sampling.generation import check_range
    from karel_fast.data.sampling.philox import INDEX_BITS
    from karel_fast.data.tokens.interpreter import is_interpreter
    from karel_fast.model.compiling import require_compiling
    from karel_fast.model.device import resolve_device
    from karel_fast.training.new_model import config_for

    for device in (preset.training.device, preset.decoding.device):
        resolve_device(device)
    if _asks_to_compile(preset):
        require_compiling()
    recipe, training, evaluation = preset.recipe, preset.training, preset.evaluation
    with _table(preset, "model"):
        config_for(tokenizer, preset.model)
    with _table(preset, "data"):
        seen = preset.data.samples or training.steps * training.batch_size
        whole("first_sample", preset.data.first_sample, 0, max(0, 2**INDEX_BITS - seen))
    with _table(preset, "evaluation"):
        recipe.with_shortest(evaluation.shortest)
        for last in (True, False):
            check_range(evaluation.start, evaluation.count(last))
        if is_interpreter(tokenizer):
            evaluation.check_outputs()
    if not is_interpreter(tokenizer):  # of which nothing is probed
        _check_probes(preset)


def _check_probes(preset: Preset) -> None:
    from karel_fast.data.sampling.generation import check_range
    from karel_fast.probing.settings import PROBE_SPLITS
    from karel_fast.probing.snapshot import samples_of

    if not preset.recipe.straight_line:
        raise InputError(
            f"preset {preset.name}, [recipe]: has control flow, and the experiment's probes pair each written action with the state "
            "after it: leave out control, or use karel-fast train and evaluate, which probe nothing"
        )
    for table, probe_run in (("probing", preset.probing), ("closer", preset.closer)):
        if probe_run is None:
            continue
        with _table(preset, table):
            recipe = preset.recipe.with_shortest(probe_run.shortest)
            for split in PROBE_SPLITS:
                check_range(probe_run.first(split), probe_run.programs[split])
            if probe_run.specifications is not None:
                samples_of(probe_run, recipe, PROBE_SPLITS[0])


def _asks_to_compile(preset: Preset) -> bool:
    """Whether the preset says so by name; by default, what cannot be compiled runs as it is."""
    asked = (("training", "compile"), ("decoding", "compile_decoding"))
    return any(preset.source.get(table, {}).get(name) is True for table, name in asked)


@contextmanager
def _table(preset: Preset, table: str) -> Iterator[None]:
    """Wrong settings are named with the table that they stand in."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"preset {preset.name}, [{table}]: {error}") from error
