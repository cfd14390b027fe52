"""Where and how the models of a probing experiment run, from its settings."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import torch

from karel_fast.model.device import resolve_device, resolve_precision
from karel_fast.model.shape import DecodingConfig

Experiment = TypeVar("Experiment", bound=Any)


def prepared(experiment: Experiment, decoding: DecodingConfig) -> tuple[Experiment, dict[str, Any]]:
    """The experiment with the precision of its probes' products decided, and where and how its models run, as the keywords of
    `probe_snapshot` and its like.

    experiment: a settings class with a `config` of probes (`probing.settings.ProbeConfig`). Raises ValueError for a device that is
    not there.
    """
    device = resolve_device(decoding.device)
    dtype = resolve_precision(decoding.precision, device)
    products = "bfloat16" if dtype == torch.bfloat16 else "float32"
    return (
        dataclasses.replace(experiment, config=dataclasses.replace(experiment.config, precision=products)),
        {
            "device": str(device),
            "dtype": dtype,
            "batch_size": decoding.decode_batch_size,
            "compile_model": decoding.compile_decoding,
        },
    )
