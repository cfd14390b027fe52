"""Builds karel_fast._core from csrc/. Without a working compiler the package installs all the same and runs on Numba."""

import os
import platform
import sys
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

REQUIRED = bool(os.environ.get("KAREL_FAST_REQUIRE_CPP"))
WINDOWS = sys.platform == "win32"
# Elsewhere the kernels for particular instruction sets are left out: Microsoft's compiler lacks the run-time test of the
# processor that the choice among them needs.
IS_X86 = platform.machine().lower() in {"x86_64", "amd64"} and not WINDOWS

# The binary runs on any processor of its kind: only these files use more, and they are called only where the CPU has it.
FLAGS_BY_FILE = {
    "kernels_avx2.cpp": ["-mavx2", "-mbmi", "-mbmi2"],
    # Copies stay at 256 bits: a byte read soon after a 512-bit store waits for it on some processors.
    "kernels_avx512.cpp": [
        "-mbmi", "-mbmi2", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mprefer-vector-width=256"
    ],
}  # fmt: skip


class OptionalBuildExt(build_ext):
    """Compiles some files for other instruction sets, and lets the installation go on without a compiler."""

    def build_extension(self, ext):
        if IS_X86:
            self.add_flags_by_file()
        try:
            super().build_extension(ext)
        except (BaseError, CCompilerError, OSError) as error:
            if REQUIRED:
                raise
            print(f"warning: the C++ core was not built ({error}); karel_fast will run on Numba", file=sys.stderr)

    def add_flags_by_file(self):
        compile_one = self.compiler._compile

        def with_flags(obj, src, ext, cc_args, extra_postargs, pp_opts):
            compile_one(obj, src, ext, cc_args, [*extra_postargs, *FLAGS_BY_FILE.get(Path(src).name, [])], pp_opts)

        self.compiler._compile = with_flags


ParallelCompile("NPY_NUM_BUILD_JOBS", default=0).install()

setup(
    ext_modules=[
        Pybind11Extension(
            "karel_fast._core",
            sorted(str(path) for path in Path("csrc").rglob("*.cpp")),
            depends=sorted(str(path) for pattern in ("*.hpp", "*.inc") for path in Path("csrc").rglob(pattern)),
            cxx_std=20,
            define_macros=[("KAREL_X86", "1")] if IS_X86 else [],
            # A fused multiply-add rounds once where others round twice: bits shall not depend on whether a processor has it.
            extra_compile_args=[] if WINDOWS else ["-O3", "-g0", "-Wall", "-Wextra", "-ffp-contract=off"],
            extra_link_args=[] if WINDOWS or sys.platform == "darwin" else ["-pthread"],
            optional=not REQUIRED,
        )
    ],
    cmdclass={"build_ext": OptionalBuildExt},
)
