"""Which precision is chosen, and that compiled code of bfloat16 is right before it is."""

import pytest
import torch
import torch._inductor.config as inductor

from karel_fast.model.compiling import (
    KNOWN_PROCESSOR,
    _graph,
    _name_a_known_processor,
    _transposed,
    compiles_bf16_rightly,
)
from karel_fast.model.device import resolve_precision
from karel_fast.support.checks import InputError


def test_precisions_by_name():
    assert resolve_precision("fp32", torch.device("cpu")) == torch.float32
    with pytest.raises(ValueError, match="precision is 'fp16'"):
        resolve_precision("fp16", torch.device("cpu"))


@pytest.mark.parametrize(
    ("model", "matrix_units", "instructions", "chosen"),
    [
        ("Intel(R) Xeon(R) Processor", False, True, torch.float32),
        ("Intel(R) Xeon(R) Processor", True, True, torch.bfloat16),
        ("AMD EPYC 9R14", False, True, torch.bfloat16),
        ("AMD EPYC 7R13", False, False, torch.float32),
    ],
)
def test_the_precision_that_the_processor_multiplies_faster(monkeypatch, model, matrix_units, instructions, chosen):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: matrix_units)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr("karel_fast.model.device.processor", lambda: {"model": model})
    monkeypatch.setattr("karel_fast.model.device.compiles_bf16_rightly", lambda: True)
    assert resolve_precision("auto", torch.device("cpu")) == chosen
    assert resolve_precision("bf16", torch.device("cpu")) == torch.bfloat16


def transposed_wrongly(*matrices):
    return tuple(matrix.mT.contiguous() + (matrix == 250) for matrix in matrices)


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    """Puts a compiler in place that says what it tunes for; gives torch's setting of the processor to compile for, as it is then."""
    if not hasattr(inductor.cpp, "march"):
        pytest.skip("this torch cannot be told what processor to compile for")

    def put(tuning: str, chosen: str | None = None, avx512: bool = True, named: str = "") -> str | None:
        script = tmp_path / "compiler"
        script.write_text(f"#!/bin/sh\nprintf '  -march=  \\tcooperlake\\n  -mtune=  \\t{tuning}\\n'\n")
        script.chmod(0o755)
        monkeypatch.setenv("CXX", named or str(script))
        monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: avx512)
        _name_a_known_processor.cache_clear()
        with inductor.patch({"cpp.march": chosen}):
            _graph(_transposed)  # compiled when it is called
            return inductor.cpp.march

    yield put
    _name_a_known_processor.cache_clear()


def test_code_is_made_for_an_older_processor_where_the_compiler_does_not_know_this_one(compiler):
    assert compiler("generic") == KNOWN_PROCESSOR


def test_code_is_made_for_the_processor_at_hand_where_the_compiler_knows_it_or_somebody_chose(compiler):
    assert compiler("sapphirerapids") is None
    assert compiler("generic", chosen="native") == "native"
    assert compiler("generic", avx512=False) is None


def test_nothing_is_chosen_where_there_is_no_compiler(compiler):
    assert compiler("generic", named="/nowhere/g++") is None


def test_what_is_compiled_of_bf16_here_is_right():
    """With the compiler and processor at hand: nothing is stood in for."""
    if not compiles_bf16_rightly():
        pytest.skip("the C++ compiler here makes wrong code of bf16, whatever processor it is told of")
    matrices = torch.arange(2 * 160 * 160).remainder(251).bfloat16().view(2, 160, 160)
    torch.testing.assert_close(_graph(_transposed)(*matrices), _transposed(*matrices), rtol=0, atol=0)


def test_bf16_is_refused_where_the_compiler_makes_wrong_code_of_it(monkeypatch):
    monkeypatch.setattr("karel_fast.model.device._multiplies_bf16_faster", lambda device: True)
    monkeypatch.setattr("karel_fast.model.compiling._graph", lambda function: transposed_wrongly)
    compiles_bf16_rightly.cache_clear()
    assert resolve_precision("auto", torch.device("cpu")) == torch.float32
    with pytest.raises(InputError, match="precision is bf16, of which the C\\+\\+ compiler here makes wrong code"):
        resolve_precision("bf16", torch.device("cpu"))
    monkeypatch.setattr("karel_fast.model.compiling._graph", lambda function: function)
    compiles_bf16_rightly.cache_clear()
    assert resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
    compiles_bf16_rightly.cache_clear()
