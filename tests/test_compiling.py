"""Where torch cannot compile, everything goes on without, after one warning."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
import torch

from karel_fast.model import compiling
from karel_fast.support.checks import InputError

CODE = """
import torch
from karel_fast.model.compiling import compiled
f = compiled(lambda x: (x.sin() + x.cos()).sum())
g = compiled(lambda x: x * 2)
weight = torch.ones(5, requires_grad=True)
f(weight).backward()
assert torch.allclose(weight.grad, torch.ones(5).cos() - torch.ones(5).sin())
print(g(torch.ones(3)).tolist(), g(torch.ones(2)).tolist())
"""


def environments(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    (tmp_path / "file").write_text("")
    return {
        "no compiler": {"PATH": str(tools), "CXX": None, "CC": None},
        "no place": {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "file" / "cache")},
    }


@pytest.mark.skipif(os.name == "nt", reason="shell scripts")
@pytest.mark.parametrize("name", ["no compiler", "no place"])
def test_what_cannot_be_compiled_runs_all_the_same(tmp_path, name):
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"), **environments(tmp_path)[name]}
    environment = {key: value for key, value in environment.items() if value is not None}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[2.0, 2.0, 2.0] [2.0, 2.0]\n"), done.stderr
    assert done.stderr.count("torch.compile cannot be used here: ") == 1
    assert "Traceback" not in done.stderr


def test_switched_off(monkeypatch):
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    monkeypatch.setattr(compiling, "_fault", None)
    double = compiling.compiled(lambda x: x * 2)
    with pytest.warns(RuntimeWarning, match="TORCH_COMPILE_DISABLE is set") as warned:
        assert (double(torch.ones(2)).tolist(), double(torch.ones(1)).tolist()) == ([2.0, 2.0], [2.0])
    assert len(warned) == 1


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (subprocess.CalledProcessError(1, "g++", "x"), "the C++ compiler fails"),
        (PermissionError(13, "Permission denied", "/cache"), "/cache: Permission denied"),
        (ImportError("failed to map segment from shared object"), "failed to map segment"),
    ],
)
def test_faults_of_the_machine(error, says):
    wrapped = RuntimeError("InductorError")
    wrapped.inner_exception = error
    assert says in compiling._machine_fault(wrapped)
    assert compiling._machine_fault(RuntimeError("another")) is None


def test_asking_for_it_by_name_is_an_error(monkeypatch):
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    with pytest.raises(
        InputError, match="compile is true, but nothing can be compiled here: TORCH_COMPILE_DISABLE is set"
    ):
        compiling.require_compiling()


def test_faults_of_the_code_are_not_hidden(monkeypatch):
    monkeypatch.setattr(compiling, "_graph", lambda function: function)

    def wrong(x):
        raise ZeroDivisionError

    with warnings.catch_warnings(), pytest.raises(ZeroDivisionError):
        compiling.compiled(wrong)(1)
