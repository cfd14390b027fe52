"""Machines that lack something: locks, places for caches, packages, processors, a core; and files from other systems."""

from __future__ import annotations

import errno
import gzip
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import filelock
import numba
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import karel_fast as kf
from karel_fast import cli
from karel_fast.data import Recipe, open_shards, write_shards
from karel_fast.data.storage.jsonl import read_records
from karel_fast.experiment.preset import PRESETS, load_preset
from karel_fast.karel import backends
from karel_fast.support import files, machine, numba_cache

RECIPE = Recipe(height=5, width=5, examples=2, held_out=1, lengths=(2, 3))
BOM = b"\xef\xbb\xbf"
RECORD = {"code": "def run() { move() }", "input0": "####\n#>.#\n####"}
GZIPPED = gzip.compress(json.dumps(RECORD).encode() + b"\n")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path, monkeypatch, number):
    def refuse(self):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filelock.FileLock, "_acquire", refuse)
    with pytest.warns(RuntimeWarning, match=rf"{tmp_path}: its file system has no locks"):
        write_shards(RECIPE, "train", tmp_path, count=20)
    assert len(open_shards(tmp_path)) == 20


def test_a_warning_is_one_line_and_told_once(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(cli, "app", lambda: None)
    cli.main()
    ours, theirs = files.__file__, os.__file__
    told = [warnings.formatwarning(text, RuntimeWarning, ours, 1) for text in ("no locks", "no locks", "slow")]
    assert told == ["karel-fast: warning: no locks\n", "", "karel-fast: warning: slow\n"]
    assert "RuntimeWarning: old" in warnings.formatwarning("old", RuntimeWarning, theirs, 1)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_folder_that_cannot_be_flushed(tmp_path, monkeypatch, number):
    flush = os.fsync

    def refuse(handle):
        if Path(f"/proc/self/fd/{handle}").is_dir():
            raise OSError(number, os.strerror(number))
        flush(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    files.write_text(tmp_path / "x", "1")
    files.write_folder(tmp_path / "y", lambda folder: (folder / "z").write_text("2"))
    assert ((tmp_path / "x").read_text(), (tmp_path / "y" / "z").read_text()) == ("1", "2")


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def refuse(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    for write in (
        lambda: files.write_text(tmp_path / "x", "1"),
        lambda: files.write_folder(tmp_path / "x", Path.exists),
    ):
        with pytest.raises(OSError, match="No space left") as caught:
            write()
        assert caught.value.filename == str(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EROFS, "Read-only")])
def test_a_full_disk_is_one_line(monkeypatch, capsys, error):
    def fail():
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert (end.value.code, capsys.readouterr().err.count("\n")) == (2, 1)


def test_numba_without_a_place_for_its_cache(monkeypatch):
    njit = numba.njit

    def placeless(*functions, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'f': no locator available for file 'x.py'")
        return njit(*functions, **options)

    monkeypatch.setattr(numba, "njit", placeless)
    assert numba_cache.cached_njit(nogil=True)(lambda x: x + 1)(2) == 3


def test_every_kernel_may_do_without_a_cache():
    package = Path(kf.__file__).parent
    said = [path.name for path in package.rglob("*.py") if "cache=True" in path.read_text(encoding="utf-8")]
    assert sorted(said) == ["numba_cache.py", "transformer.py"]  # the latter's is a setting of CodeGen


@pytest.mark.parametrize(
    ("content", "processors"),
    [({"cpu.max": "150000 100000\n"}, 2), ({"cpu.max": "max 100000\n"}, None), ({"cpu.max": "x"}, None), ({}, None),
     ({"cpu.cfs_quota_us": "300000\n", "cpu.cfs_period_us": "100000\n"}, 3),
     ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None)],
)  # fmt: skip
def test_a_control_groups_quota(tmp_path, monkeypatch, content, processors):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name, text in content.items():
        (tmp_path / "a" / name).write_text(text)
    (tmp_path / "own").write_text("0::/a/b\n")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "own")
    assert machine.quota.__wrapped__() == processors


@pytest.mark.parametrize(
    ("line", "place", "name", "content", "granted"),
    [("0::/job/step", "job", "memory.max", "3000000\n", 3_000_000), ("0::/job/step", "job/step", "memory.max", "2000000\n", 2_000_000),
     ("0::/job/step", "job", "memory.max", "max\n", None), ("0::/job/step", "elsewhere", "memory.max", "3000000\n", None),
     ("5:memory:/job", "memory/job", "memory.limit_in_bytes", "4000000\n", 4_000_000),
     ("5:cpu,cpuacct:/job", "cpu,cpuacct/job", "memory.limit_in_bytes", "4000000\n", None),
     ("5:memory:/job", "memory", "memory.limit_in_bytes", f"{2**63 - 4096}\n", None)],
)  # fmt: skip
def test_a_control_groups_memory(tmp_path, monkeypatch, line, place, name, content, granted):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / name).write_text(content)
    (tmp_path / "own").write_text(f"{line}\n")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "nothing")
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "own")
    whole = machine.memory.__wrapped__()
    assert whole > 2**28
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    assert machine.memory.__wrapped__() == (granted or whole)


def test_without_torch(tmp_path):
    """Worlds, data and most commands work; what needs it says what to install, in one line."""
    code = """
import sys
for name in ("torch", "transformers", "safetensors"):
    sys.modules[name] = None
import karel_fast as kf
assert kf.run("def run() { move() }", kf.Worlds.from_text("####\\n#>.#\\n####")).steps.tolist() == [1]
recipe = kf.data.Recipe(height=5, width=5, examples=2, held_out=1, lengths=(2, 3))
kf.data.write_shards(recipe, "train", sys.argv[1] + "/data", count=20)
print(kf.data.verify(sys.argv[1] + "/data").rows, kf.data.Tokenizer(recipe).encode(kf.data.generate(recipe, count=2)).shape[0])
try:
    kf.model.Transformer
except ImportError as error:
    print(error)
from karel_fast import cli
sys.argv = ["karel-fast", "train", sys.argv[1] + "/run"]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout.splitlines() == [
        "20 2", "karel_fast.model.Transformer needs the package torch, which is not installed: pip install torch"
    ]  # fmt: skip
    assert done.stderr.startswith("karel-fast: ")
    assert done.stderr.count("\n") == 1
    assert "pip install torch" in done.stderr


def test_a_source_tree_that_hides_the_installed_package(tmp_path, monkeypatch):
    tree = Path(kf.__file__).parents[1]
    if not (tree / "csrc").is_dir():
        pytest.skip("not a source tree")
    monkeypatch.setattr(sys, "path", [str(tree)])
    assert "build it (python setup.py build_ext --inplace)" in backends._core_remedy()
    (tmp_path / "karel_fast").mkdir()
    (tmp_path / "karel_fast" / "_core.cpython-311-x86_64-linux-gnu.so").touch()
    monkeypatch.setattr(sys, "path", [str(tree), str(tmp_path)])
    assert f"the source tree {tree} hides the installed package in {tmp_path}" in backends._core_remedy()


# -- files from other systems -----------------------------------------------------------------------------------------


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """call(*arguments) -> exit code, standard error; in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["karel-fast", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, capsys.readouterr().err

    return run


def test_a_byte_order_mark(call):
    Path("recipe.json").write_bytes(BOM + RECIPE.to_json().encode())
    Path("records.jsonl").write_bytes(BOM + json.dumps(RECORD).encode() + b"\r\n")
    Path("preset.toml").write_bytes(BOM + (PRESETS / "smoke.toml").read_bytes())
    assert call("generate", "--recipe", "recipe.json", "--count", "5", "--out", "data")[0] == 0
    assert open_shards("data").recipe == RECIPE
    assert call("trace", "records.jsonl", "--out", "traces.parquet")[0] == 0
    assert len(read_records("records.jsonl").programs) == 1
    assert load_preset("preset.toml").training == load_preset("smoke").training


@pytest.mark.parametrize("name", ["x.PARQUET", "x.pq"])
def test_parquet_by_its_content(tmp_path, name):
    pq.write_table(pa.table({key: [text] for key, text in RECORD.items()}), tmp_path / name)
    assert str(read_records(tmp_path / name).programs[0]) == str(kf.parse(RECORD["code"]))


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl"])
def test_records_that_gzip_compressed(tmp_path, name):
    (tmp_path / name).write_bytes(GZIPPED)
    assert str(read_records(tmp_path / name).programs[0]) == str(kf.parse(RECORD["code"]))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.jsonl.gz", gzip.compress(b"{}\n"), "line 1: no input0"),
        ("x.jsonl.gz", GZIPPED[:20], "cannot be decompressed after line 0"),
        ("x.jsonl.gz", GZIPPED[:-6] + b"\0" + GZIPPED[-5:], "cannot be decompressed after line 1"),
        ("x.jsonl.gz", GZIPPED[:10] + b"\xff" + GZIPPED[11:], "cannot be decompressed after line 0"),
        ("x.jsonl.gz", gzip.compress(bytes(files.LONGEST_LINE + 1)), "line 1: is longer than 67,108,864 bytes"),
        ("x.jsonl.zst", b"\x28\xb5\x2f\xfd", "compressed by zstd"),
        ("x.jsonl", json.dumps(RECORD).encode("utf-16"), "text in UTF-16"),
        ("x.jsonl", json.dumps(RECORD).encode() + b'\n{"code": "\xe9"}', "line 2: it is not text in UTF-8"),
        ("x.jsonl", b"[" * 100_000, "nested too deeply"),
        ("x.parquet", b"PAR1 and no more", "no readable Parquet file"),
    ],
)
def test_records_that_cannot_be_read(call, name, content, says):
    Path(name).write_bytes(content)
    code, err = call("trace", name, "--out", "y.parquet")
    assert code == 2
    assert err.startswith(f"karel-fast: {name}")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [("generate", "--count", "5", "--out", "y", "--recipe"), ("reproduce",)])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{}".encode("utf-16"), "UTF-16"), (b"a = " + b"[" * 50_000, ""), (b"[" * 100_000, ""), (b"\x1f\x8b\x08", "gzip"),
        (b"{", ""),
    ],
)  # fmt: skip
def test_recipes_and_presets_that_cannot_be_read(call, command, content, says):
    name = "x.toml" if command[0] == "reproduce" else "x.json"
    Path(name).write_bytes(content)
    code, err = call(*command, name)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"karel-fast: {name}: ")
    assert says in err
