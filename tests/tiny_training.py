"""Training of the tiny model, as the tests of training share it."""

from tiny_model import PAD, tiny_config, tiny_rows

from karel_fast.model import from_hf
from karel_fast.training import TrainConfig, train

BASE = {
    "batch_size": 8,
    "warmup": 2,
    "precision": "fp32",
    "compile": False,
    "device": "cpu",
    "log_every": 1,
    "snapshot_every": 3,
}


def go(
    run, steps=9, rows=tiny_rows, model=None, resume=False, recipe="", active=None, progress=None, stop=None, **changes
):
    config = TrainConfig(**{**BASE, "steps": steps, **changes})
    return train(
        config,
        model or tiny_config(),
        rows,
        run,
        pad_id=PAD,
        resume=resume,
        recipe=recipe,
        active=active,
        progress=progress,
        stop=stop,
    )


def weights(snapshot):
    return {name: tensor.clone() for name, tensor in from_hf(snapshot).state_dict().items()}
