"""Run folders shared, killed and damaged; settings that could fail only after the training; forged programs."""

from __future__ import annotations

import dataclasses
import errno

import fake_run
import numpy as np
import pytest
from rich.console import Console
from tiny_model import tiny_config, tiny_rows

import karel_fast as kf
from karel_fast.data import Recipe
from karel_fast.data.sampling.recipe import ControlFlow
from karel_fast.experiment.preset import load_preset
from karel_fast.experiment.reproduce import reproduce
from karel_fast.karel.backends import available_backends
from karel_fast.karel.language.bytecode import Op, encode_instruction
from karel_fast.report import page
from karel_fast.runs.folder import RunFolder
from karel_fast.support.checks import InputError
from karel_fast.support.files import write_json
from karel_fast.support.locks import alone, locked
from karel_fast.training import TrainConfig, train
from karel_fast.training.metrics import MetricsFile

CONFIG = TrainConfig(steps=1, batch_size=2, compile=False, precision="fp32", device="cpu")


def go(run):
    return train(CONFIG, tiny_config(layers=1), tiny_rows, run, pad_id=0)


def test_one_process_trains_in_a_folder(tmp_path):
    with (
        locked(tmp_path / ".training.lock", "busy"),
        pytest.raises(BlockingIOError, match="another process is training"),
    ):
        go(tmp_path)
    assert go(tmp_path).step == 1


def test_what_a_killed_training_left_half_written_is_removed(tmp_path):
    (tmp_path / "snapshots" / ".step-000100.new.tmp").mkdir(parents=True)
    (tmp_path / "snapshots" / ".step-000100.new.tmp" / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".resume.safetensors.new.tmp").write_bytes(b"half")
    go(tmp_path)
    assert list(tmp_path.rglob("*.tmp")) == []


BAD_LINES = [
    b'{"step": 2, "loss": "\xff"}',
    b'{"step": 2',
    b"[1]",
    b"3",
    b'{"loss": 1}',
    b'{"step": "2"}',
    b"[" * 50_000,
]


@pytest.mark.parametrize("bad", BAD_LINES)
def test_a_bad_line_in_the_log_is_left_out(tmp_path, bad):
    good = b'{"step": 1, "loss": 2.0}', b'{"step": 3, "loss": 1.0}'
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([good[0], bad, good[1]]) + b"\n")
    assert [line["step"] for line in RunFolder(tmp_path).metrics()] == [1, 3]
    MetricsFile(tmp_path, 2, tensorboard=False).close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == good[0] + b"\n"


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        ("decoding", "decode_batch_size", 0), ("decoding", "decode_batch_size", "x"), ("decoding", "compile_decoding", "no"),
        ("training", "compile", 3), ("training", "lr", float("nan")), ("training", "seed", 2**64), ("training", "steps", 2.5),
        ("evaluation", "specifications", "x"), ("evaluation", "split", 3), ("probing", "examples", -1),
        ("probing", "examples", "x"), ("probing", "seeds", 0), ("probing", "seeds", [-1]), ("probing", "seeds", ["x"]),
        ("probing", "batch_size", 0), ("probing", "epochs", 0), ("probing", "epochs", True),
        ("probing", "learning_rate", float("nan")), ("probing", "learning_rate", float("inf")), ("probing", "least_steps", -1),
        ("probing", "programs", {"train": 0, "validation": 1, "test": 1}),
        ("probing", "programs", {"train": "x", "validation": 1, "test": 1}), ("probing", "layers", [99]),
        ("probing", "layers", [-1]), ("probing", "layers", []), ("probing", "layers", "some"), ("probing", "offsets", ["a"]),
        ("probing", "offsets", [10**9]), ("probing", "features", ["nonsense"]), ("probing", "features", []),
        ("probing", "features", 5), ("probing", "semantics", ["nonsense"]), ("probing", "depths", {"x": 3}),
        ("probing", "group_bytes", 0), ("model", "layers", "x"), ("model", "width", 0), ("data", "samples", -1),
    ],
)  # fmt: skip
def test_settings_are_checked_before_the_training(table, name, value):
    with pytest.raises(InputError, match=rf"\[{table}\]"):
        load_preset("smoke", {table: {name: value}})


@pytest.mark.parametrize("change", [{"layout": "nonsense"}, {"layout": 3}, {"description": 3}])
def test_a_presets_own_keys(tmp_path, change):
    (tmp_path / "x.toml").write_text("\n".join(f"{key} = {value!r}" for key, value in change.items()))
    with pytest.raises(InputError, match=next(iter(change))):
        load_preset(str(tmp_path / "x.toml"))


def test_layers_of_the_model_are_taken():
    layers = load_preset("smoke").model.layers
    assert load_preset("smoke", {"probing": {"layers": [0, layers]}}).probing.layers == (0, layers)


# -- programs ---------------------------------------------------------------------------------------------------------


def test_the_longest_program_of_deep_control_flow():
    recipe = Recipe.control_flow(lengths=(6, 200), control=ControlFlow(depth=8, while_weight=1, repeat_weight=1))
    assert recipe.symbol_width == 960


def test_compiled_programs_cannot_be_changed():
    deep = "def run() { repeat (3) { move() } }"
    for programs in (
        kf.compile(deep),
        kf.compile("def run() { move() }"),
        kf.CompiledPrograms.from_actions(np.zeros((2, 3), np.uint8)),
    ):
        for name in ("actions", "code", "starts", "lengths"):
            array = getattr(programs, name)
            while array is not None and not isinstance(array, bytes):
                assert not array.flags.writeable
                with pytest.raises(ValueError, match="WRITEABLE"):
                    array.flags.writeable = True
                array = array.base


@pytest.mark.parametrize("backend", [name for name in available_backends() if name != "reference"])
def test_a_counter_that_is_asked_for_before_it_is_set(backend):
    """Forged bytecode sees no counter of another program's run: every run begins with none left."""
    good = kf.compile("def run() { repeat (5) { turn_left() } }")
    forged = [encode_instruction(0), encode_instruction(Op.LOOP, 0, 0), encode_instruction(Op.HALT)]
    leaves = [encode_instruction(Op.SET, 0, 4), encode_instruction(Op.HALT)]
    both = dataclasses.replace(
        good,
        code=np.array(leaves + forged, np.int64),
        starts=np.array([0, len(leaves)], np.int64),
        lengths=np.array([len(leaves), len(forged)], np.int32),
    )
    worlds = kf.Worlds.from_text(["#####\n#>..#\n#####"] * 2)
    assert kf.run(both, worlds, backend=backend, threads=1).steps.tolist() == [0, 1]


def test_reports_of_one_run_wait_for_each_other(tmp_path, monkeypatch):
    run = tmp_path / "run"
    write_json(run / "probing" / "step-000000.json", {"step": 0})
    monkeypatch.setattr(page, "WAIT", 0.05)
    lock = run / "report" / ".report.lock"
    lock.parent.mkdir()
    with locked(lock), pytest.raises(BlockingIOError, match=r"report\.html: another process is making these results"):
        page.write_report(run)


def test_a_folder_that_takes_no_lock_is_named_itself(tmp_path, monkeypatch):
    def refused(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", self.lock_file)

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    with pytest.raises(PermissionError) as raised, locked(tmp_path / ".lock"):
        pass
    assert (raised.value.filename, raised.value.errno) == (str(tmp_path), errno.EACCES)


def test_what_killed_writers_left_half_written_is_removed(tmp_path, monkeypatch):
    """Of results and reports; what others write beside them stays."""
    run = tmp_path / "run"
    write_json(run / "probing" / "step-000000.json", {"step": 0})
    (run / "report" / "figures").mkdir(parents=True)
    fake_run.without_figures(monkeypatch)
    left = ["report/.report.html.7.tmp", "report/figures/.loss.svg.7.tmp", ".summary.json.7.tmp"]
    for name in [*left, ".resume.safetensors.new.tmp"]:
        (run / name).write_bytes(b"half")
    assert page.write_report(run).exists()
    target = run / "probing" / "step-000000.json"
    for name in (".step-000000.json.7.tmp", ".step-000000.npz.7.tmp", ".step-000400.json.7.tmp"):
        (run / "probing" / name).write_bytes(b"half")
    with alone(target):
        assert target.exists()
    found = sorted(path.name for path in run.rglob("*.tmp"))
    assert found == [".resume.safetensors.new.tmp", ".step-000400.json.7.tmp"]


def test_one_process_reproduces_in_a_folder(tmp_path):
    tmp_path.joinpath("run").mkdir()
    with (
        locked(tmp_path / "run" / ".reproduce.lock"),
        pytest.raises(BlockingIOError, match="run: another process is reproducing an experiment in this folder"),
    ):
        reproduce(load_preset("smoke"), tmp_path / "run", Console())
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".reproduce.lock"]


def test_the_last_card_is_that_of_the_most_updates(tmp_path):
    """Names are longer above a million updates, and sort otherwise; a folder that is no step is none."""
    for name, recipe in (("step-999999", "earlier"), ("step-1000000", "later"), ("step-best", "mine")):
        write_json(tmp_path / "snapshots" / name / "karel_fast.json", {"recipe": recipe, "train": {"seed": 1}})
    assert RunFolder(tmp_path).recipe() == "later"
    assert RunFolder(tmp_path).trained_with()["training"] == {"seed": 1}
