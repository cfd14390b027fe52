"""The command line: `run` and `info`, exit codes, and one clear message for wrong input."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from typing import Annotated, get_args, get_origin

import pytest
from command_line import Cli, command_line

import karel_fast as kf
from karel_fast import cli
from karel_fast.cli import karel as commands
from karel_fast.cli.numbers import whole_count
from karel_fast.karel import backends
from karel_fast.support.checks import InputError
from karel_fast.support.version import VERSION

WORLD = "#####\n#>.1#\n#####\n"
PROGRAM = "def run() { move(); move(); pick_marker(); turn_left() }\n"


@pytest.fixture
def call(monkeypatch, capsys, tmp_path) -> Cli:
    """call(*arguments, stdin="") -> exit code, standard output, standard error; in a folder with a program and a world."""
    (tmp_path / "program.karel").write_text(PROGRAM)
    (tmp_path / "world.txt").write_text(WORLD)
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, capsys)


def test_run_draws_before_and_after(call):
    code, out, _ = call("run", "program.karel", "--world", "world.txt")
    assert code == 0
    assert "#>.1#" in out
    assert "#..^#" in out
    assert "4 steps, OK" in out


def test_a_file_is_as_wide_as_its_worlds(call, tmp_path, monkeypatch):
    """Whatever the terminal beside it: nothing is cut where output goes to a file or a pipe."""
    (tmp_path / "wide.txt").write_text("#" * 64 + "\n#>" + "." * 61 + "#\n" + "#" * 64 + "\n")
    monkeypatch.setenv("COLUMNS", "20")
    code, out, _ = call("run", "program.karel", "--world", "wide.txt", "--trace")
    assert code == 0
    assert "#" * 64 in out
    assert "turn_left" in out
    assert "\N{HORIZONTAL ELLIPSIS}" not in out


def test_a_strict_run_that_does_not_end(call, tmp_path):
    (tmp_path / "endless.karel").write_text("def run() { while (front_is_clear()) { put_marker() } }")
    code, out, _ = call("run", "endless.karel", "--world", "world.txt", "--max-steps", "9", "--strict")
    assert code == 3
    assert "9 steps, STEP_LIMIT: it has not ended; --max-steps allows more" in out
    crash = (
        "run",
        "program.karel",
        "--world",
        "world.txt",
        "--on-error",
        "crash",
        "--semantics",
        "turn_left>pick_marker",
    )
    assert call(*crash)[0] == 0
    code, out, _ = call(*crash, "--strict")
    assert code == 3
    assert "CRASHED: the next action is a move into a wall, or a pick from an empty cell" in out
    assert call("run", "program.karel", "--world", "world.txt", "--strict")[0] == 0


@pytest.mark.parametrize("text", ["1000", "1e3", "1_000", "1,000"])
def test_counts_as_people_write_them(text):
    assert whole_count(text) == 1000


@pytest.mark.parametrize(
    "text", ["1.5", "many", "", "nan", "1e-3", "inf", "1,5", "1,0000", "1,000,", ",100", "1e-9999999", "1e" + "9" * 30]
)
def test_counts_that_are_none(text):
    with pytest.raises(InputError, match="is no whole number"):
        whole_count(text)


@pytest.mark.parametrize("text", ["1e5000", "1e9999999", "1" * 5000, "-1e999"])
def test_counts_beyond_all(text):
    with pytest.raises(InputError, match="is far out of range; give a number of at most 20 digits") as error:
        whole_count(text)
    assert len(str(error.value)) < 200


def test_every_number_is_refused_by_name():
    """typer's own message leaves out what was given, so no option may take its numbers by typer's reading."""
    options = [
        (command.callback.__name__, name, *get_args(parameter.annotation))
        for command in cli.app.registered_commands
        for name, parameter in inspect.signature(command.callback, eval_str=True).parameters.items()
        if get_origin(parameter.annotation) is Annotated
    ]
    numbers = [option for option in options if re.search(r"\b(int|float)\b", str(option[2]))]
    assert len(numbers) > 100
    assert [(command, name) for command, name, _, option in numbers if option.parser is None] == []


def test_the_list_of_presets(call):
    code, out, _ = call("reproduce", "--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["laptop", "paper", "paper-faithful", "paper-gpu", "smoke"]


def test_version(call):
    assert call("--version") == (0, f"karel_fast {VERSION}\n", "")


def test_run_reads_standard_input(call):
    assert call("run", "-", "--world", "world.txt", stdin=PROGRAM)[0] == 0
    assert call("run", "program.karel", "--world", "-", stdin=WORLD)[0] == 0


def test_run_json(call):
    code, out, _ = call("run", "program.karel", "--world", "world.txt", "--json", "--trace", "--semantics", "flip")
    assert code == 0
    (found,) = json.loads(out)
    assert found["status"] == "OK"
    assert found["before"] == WORLD.split()
    assert found["after"] == ["#####", "#..v#", "#####"]
    assert found["trace"]["actions"] == ["move", "move", "pick_marker", "turn_right"]
    assert found["trace"]["markers_here"] == [0, 0, 1, 0, 0]
    assert found["trace"]["robot"][-1] == [1, 3, 2]


def test_run_trace_is_a_table(call):
    _, out, _ = call("run", "program.karel", "--world", "world.txt", "--trace")
    assert [line.split()[:3] for line in out.splitlines() if line.split()[1:2] == ["pick_marker"]] == [
        ["3", "pick_marker", "1"]
    ]


def test_run_takes_several_worlds(call, tmp_path):
    (tmp_path / "two.txt").write_text(WORLD + "\n\n" + WORLD.replace(">", "<"))
    _, out, _ = call("run", "program.karel", "--world", "two.txt", "--json")
    assert [found["after"][1] for found in json.loads(out)] == ["#..^#", "#v.1#"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "missing.karel", "--world", "world.txt"), "missing.karel"),
        (("run", "world.txt", "--world", "world.txt"), "world.txt: line 1, column 1"),
        (("run", "program.karel", "--world", "program.karel"), "program.karel: "),
        (("run", "-", "--world", "-"), "standard input"),
        (("run", "program.karel", "--world", "world.txt", "--semantics", "flop"), "did you mean 'flip'"),
        (("run", "program.karel", "--world", "world.txt", "--max-steps", "0"), "max_steps is 0"),
        (("run", "program.karel", "--world", "world.txt", "--backend", "gpu"), "unknown backend 'gpu'"),
        (("run", "program.karel", "--world", "world.txt", "--on-error", "burn"), "on_error is 'burn'"),
        (("run", "program.karel", "--world", "world.txt", "--svg", "program.karel"), "would replace the program"),
        (("run", "program.karel", "--world", "world.txt", "--gif", "./world.txt"), "would replace the world"),
        (("run", "program.karel", "--world", "world.txt", "--svg", "s", "--gif", "s"), "--gif s would replace --svg"),
        (("run", "program.karel"), "--world"),
        (("fly",), "fly"),
        (("reproduce", "nonsense"), "unknown preset 'nonsense'"),
        (("reproduce", "smok"), "did you mean 'smoke'"),
        (("reproduce", "smoke", "--set", "training.stepz=3"), "unknown setting 'stepz'; did you mean 'steps'"),
        (("reproduce", "smoke", "--set", "trainin.steps=3"), "did you mean 'training'"),
        (("train", "x", "--recipe", "papper"), "papper"),
        (("train", "x", "--optimizer", "sgd"), "optimizer='sgd'"),
        (("train", "x", "--stepz", "3"), "--steps"),
        (("train", "x", "--steps", "1.5"), "'1.5' is no whole number"),
        (("train", "x", "--steps", "1e20"), "'1e20' is far out of range"),
        (("train", "x", "--lr", "fast"), "'fast' is no number"),
        (("train", "x", "--restarts", "1e3,x"), "--restarts '1e3,x' cannot be read: give a value like"),
        (
            ("probe", "x", "--programs", "train=many"),
            "--programs 'train=many' cannot be read: give a value like train=1",
        ),
        (("verify", "nowhere", "--repair"), "nowhere: there is no such folder"),
        (("run", "program.karel", "--world", "world.txt", "--svg", "."), "--svg .: it is a folder, not a file"),
        (("generate", "--out", ".", "--count", "5", "--format", "text"), "--out .: it is a folder, not a file"),
        (
            ("generate", "--out", "x", "--count", "0", "--format", "msr"),
            "count is 0; give a whole number of at least 1",
        ),
        (("trace", "programs.jsonl", "--out", "."), "--out .: it is a folder, not a file"),
        (("probe", "x", "--step", "last"), "'last' is no whole number"),
        (("generate", "--out", "x", "--count", "5", "--seed=-1"), "'-1' is too small; give at least 0"),
        (("train", "x", "--rotary-dim", "3"), "rotary_dim is 3"),
        (("probe", "x", "--offsets", "a"), "--offsets 'a' cannot be read"),
        (("evaluate", "nowhere"), "nowhere"),
        (("reproduce", "smoke", "--faithful"), "'smoke' has no faithful variant; those that have: paper"),
        (("reproduce", "smoke", "--output", "x", "--minutes", "0"), "minutes=0"),
        (("bench", "nonsense"), "unknown suite 'nonsense'"),
        (("bench", "model", "--size", "huge"), "unknown size 'huge'; choose from quick, small, paper"),
        (("bench", "model", "--device", "abacus"), "device='abacus': use auto, cpu, cuda or cuda:N"),
        (("report", "nowhere"), "nowhere"),
        (("evaluate", ""), "an argument is empty, as an unset variable in quotes is"),
        (("train", "x", "--restarts", "ten"), "restarts is 'ten'; give a list of whole numbers"),
        (("compare", "x", "--by-place", "middle"), "--by-place is 'middle'; use one of start, end"),
        (("reproduce", "NONE.TOML"), "NONE.TOML: there is no such file"),
        (("generate", "--out", "x", "--count", "5", "--recipe", "nonsense"), "nonsense"),
        (
            ("generate", "--out", "x", "--count", "1e17"),
            "count is 100000000000000000; give a whole number from 1 to 720",
        ),
        (
            ("reproduce", "smoke", "--seed", "1", "--set", "training.seed=2"),
            "--seed 1 and --set training.seed=2 contradict",
        ),
        (
            ("reproduce", "smoke", "--device", "cpu", "--set", "decoding.device='cuda'"),
            "--device cpu and --set decoding.device=cuda contradict",
        ),
        (("generate", "--out", "x", "--count", "1e16"), "makes 200000000000 files; at most 1000000 can be written"),
        (("solve-samples", "--out", "x", "--count", "1e16"), "give a larger shard_size, or fewer samples"),
        (("solve-samples", "--out", "x", "--count", "5", "--start", str(2**56 - 4)), "start is 72057594037927932"),
        (("reproduce", "smoke", "--set", "training.lr=1" + "0" * 400), "lr is about 1e400; give a number from 0 to 10"),
        (("reproduce", "smoke", "--set", "training.steps=1" + "0" * 5000), "is no TOML value"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(call, arguments, message):
    code, out, err = call(*arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_a_file_where_a_folder_belongs(call, tmp_path):
    (tmp_path / "file").touch()
    code, _, error = call("reproduce", "smoke", "--output", tmp_path / "file")
    assert (code, error) == (2, f"karel-fast: {tmp_path / 'file'}: File exists; it is no folder: choose another name\n")


TRAIN_ONE = (
    "train", "new", "--steps=1", "--layers=1", "--width=16", "--batch-size=1", "--no-compile", "--device=cpu"
)  # fmt: skip


@pytest.mark.parametrize("error", [ValueError, TypeError, ImportError])
@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("torch.nn.functional.cross_entropy", TRAIN_ONE),
        ("karel_fast.cli.data.read_recipe", ("generate", "--out", "new", "--count", "1")),
        ("karel_fast.experiment.beforehand.check_beforehand", ("reproduce", "smoke", "--output", "new")),
    ],
)
def test_a_fault_is_no_wrong_input(call, monkeypatch, place, arguments, error):
    """The error is raised by another module, or by a call, as from the depths of a library: it goes through, as a traceback."""

    def broken(*_, **__):
        raise error("from the depths")

    monkeypatch.setattr(place, broken)
    with pytest.raises(error, match=r"^from the depths$"):
        call(*arguments)


def test_a_fault_is_a_traceback_and_exit_code_1():
    script = """
import sys
import karel_fast.cli.data
from karel_fast.cli import main
def broken(_):
    raise TypeError("from the depths")
karel_fast.cli.data.read_recipe = broken
sys.argv = ["karel-fast", "generate", "--out", "new", "--count", "1"]
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.rstrip().endswith("TypeError: from the depths")


def test_what_the_core_refuses_is_wrong_input(tmp_path):
    """Its exceptions come from no `raise` of Python's, and are one line all the same."""
    (tmp_path / "w.txt").write_text("#####\n#>..#\n#...#\n#####\n")
    (tmp_path / "p.karel").write_text("def run() { move() }")
    world = str(tmp_path / "w.txt")
    for arguments, setting, said in (
        (("solve", "--inputs", world, "--outputs", world, "--longest", "200"), {}, "max_states"),
        (("run", str(tmp_path / "p.karel"), "--world", world), {"KAREL_FAST_ISA": "foo"}, "KAREL_FAST_ISA=foo"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "karel_fast", *arguments, *(("--backend", "cpp") if setting else ())],
            env={**os.environ, **setting}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(rf"karel-fast: .*{said}.*\n", done.stderr), done.stderr


def test_a_fault_at_a_call_of_ours(call, monkeypatch):
    """int() has no frame of its own: the traceback ends in this package, but at no raise statement."""
    monkeypatch.setattr(commands, "run", lambda *_, **__: int("a fault"))
    with pytest.raises(ValueError, match="a fault"):
        call("run", "program.karel", "--world", "world.txt")


def test_a_binary_file_is_not_a_program(call, tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    code, _, err = call("run", "binary", "--world", "world.txt")
    assert code == 2
    assert "binary: " in err


def test_info(call):
    code, out, _ = call("info")
    assert code == 0
    assert kf.__version__ in out
    assert f"backend {backends.resolve_backend()}: in use" in out
    assert "torch: " in out
    facts = json.loads(call("info", "--json")[1])
    assert facts["backend"] == backends.resolve_backend()
    assert facts["threads"] >= 1


def test_info_says_why_there_is_no_core(call, monkeypatch):
    for module in (backends, commands):
        monkeypatch.setattr(module, "unavailable", lambda: {"cpp": "the C++ core cannot be loaded"})
    backends._default.cache_clear()
    try:
        _, out, _ = call("info")
    finally:
        backends._default.cache_clear()
    assert "backend numba: in use, the best available" in out
    assert "backend cpp: the C++ core cannot be loaded" in out


def test_info_speaks_of_the_variables(call, monkeypatch):
    monkeypatch.setenv("KAREL_FAST_BACKEND", "reference")
    assert "backend reference: in use, chosen by KAREL_FAST_BACKEND" in call("info")[1]
    monkeypatch.setenv("KAREL_FAST_BACKEND", "abacus")
    code, out, _ = call("info")
    assert code == 2
    assert "problem: unknown backend 'abacus'" in out
    assert "threads: " in out


def test_files_may_begin_with_a_byte_order_mark(call, tmp_path):
    for name in ("program.karel", "world.txt"):
        (tmp_path / name).write_text((tmp_path / name).read_text(), encoding="utf-8-sig")
    assert call("run", "program.karel", "--world", "world.txt")[0] == 0


def test_closed_standard_input(call, monkeypatch):
    monkeypatch.setattr("sys.argv", ["karel-fast", "run", "-", "--world", "world.txt"])
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2


def test_the_command_line_is_light():
    code = "import sys, karel_fast.cli; print([m for m in ('torch', 'numba', 'matplotlib', 'pyarrow', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
