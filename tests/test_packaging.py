"""Building with and without a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(sys.platform == "win32", reason="another way to name the compiler")
@pytest.mark.parametrize("required", [False, True])
def test_without_a_compiler(tmp_path, required):
    """The build goes on without the core, and says so, unless the core was asked for."""
    command = [sys.executable, "setup.py", "build_ext", "-b", str(tmp_path / "lib"), "-t", str(tmp_path / "temp")]
    environment = {**os.environ, "CC": "false", "CXX": "false", "KAREL_FAST_REQUIRE_CPP": "1" if required else ""}
    pytest.importorskip("setuptools")
    pytest.importorskip("pybind11")
    build = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert not list(tmp_path.rglob("*.so"))
    if required:
        assert build.returncode != 0
    else:
        assert build.returncode == 0, build.stderr
        assert "karel_fast will run on Numba" in build.stderr


def test_the_sdist_has_every_file_of_the_repository(tmp_path):
    pytest.importorskip("setuptools")
    pytest.importorskip("pybind11")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a clone")
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    command = [sys.executable, "setup.py", "-q", "egg_info", "-e", str(tmp_path), "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        packed = {name.partition("/")[2] for name in file.getnames()}
    assert tracked - packed == set()
