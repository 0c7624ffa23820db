"""Compile the kernels with the system's C++ compiler, or with the one of the package ziglang.

    python kernels/build.py

writes domino_onnx_kernels/libdomino_onnx_kernels.so (.dylib, .dll), unless it is there and made from the same sources.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "src"
PACKAGE = ROOT / "domino_onnx_kernels"
NAMES = {"Windows": "domino_onnx_kernels.dll", "Darwin": "libdomino_onnx_kernels.dylib"}
LIBRARY = PACKAGE / NAMES.get(platform.system(), "libdomino_onnx_kernels.so")

_X86 = platform.machine().lower() in ("x86_64", "amd64")
_AVX2 = ["-mavx2", "-mfma"]
_AVX512 = [*_AVX2, *(f"-mavx512{part}" for part in ("f", "bw", "vl", "dq", "vbmi", "vnni"))]
_SETS = {
    "avx2": _AVX2,
    "avxvnni": [*_AVX2, "-mavxvnni"],
    "avx512": [*_AVX512, "-mprefer-vector-width=512", "-Wno-maybe-uninitialized"],  # a false alarm of GCC's own header
}
_COMMON = [
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wall",
    "-Wno-psabi",
]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g1"]


def compiler() -> list[str] | None:
    """The command of a C++ compiler: that of the variable CXX, the system's, or ziglang's; None if there is none."""
    if os.environ.get("CXX"):
        return shlex.split(os.environ["CXX"])
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "c++"]
    return None


def sources() -> list[Path]:
    """The files to compile for this kind of processor."""
    return [path for path in sorted(SOURCES.glob("*.cpp")) if _X86 or path.stem.split("_")[-1] not in _SETS]


def flags_of(source: Path) -> list[str]:
    """How one file is compiled: for its instruction set, and with products and sums fused in float32 kernels alone."""
    fused = "fast" if source.stem.startswith("float_") else "off"
    defined = ["-DDOMINO_X86"] if _X86 else []
    return [*_COMMON, *defined, f"-ffp-contract={fused}", *_SETS.get(source.stem.split("_")[-1], [])]


def compiled(files: Sequence[Path], folder: Path, command: Sequence[str], extra: Sequence[str] = ()) -> list[Path]:
    """The object files of some sources, in `folder`."""

    def compile_one(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        _run([*command, *flags_of(source), *extra, "-I", str(SOURCES), "-c", str(source), "-o", str(target)])
        return target

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(compile_one, files))


def build(output: Path = LIBRARY, *, extra: Sequence[str] = ()) -> Path:
    """Compile the library into `output`, unless it is there already and made from the same.

    Raises
    ------
    SystemExit
        If there is no compiler, or it refuses.
    """
    command = compiler()
    if command is None:
        sys.exit("there is no C++ compiler: install g++ or clang++, or `pip install ziglang`")
    made_from = _checksum([*command, *extra])
    record = output.with_name(f"{output.name}.made_from")
    if output.exists() and record.exists() and record.read_text() == made_from:
        return output
    with tempfile.TemporaryDirectory() as folder:
        objects = compiled(sources(), Path(folder), command, extra)
        static = (
            ["-static-libgcc", "-static-libstdc++"] if platform.system() == "Linux" and "ziglang" not in command else []
        )
        linked = Path(folder) / output.name
        _run([*command, "-shared", *static, *(() if extra else ("-s",)), *extra, *map(str, objects), "-o", str(linked)])
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(linked, output)
    record.write_text(made_from)
    return output


def _checksum(command: Sequence[str]) -> str:
    digest = hashlib.sha256(" ".join(command).encode())
    for path in [Path(__file__), *sorted(SOURCES.iterdir())]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-4000:]}")


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", type=Path, default=LIBRARY)
    parser.add_argument("--sanitize", action="store_true", help="with AddressSanitizer and UndefinedBehaviorSanitizer")
    given = parser.parse_args()
    print(build(given.output, extra=SANITIZERS if given.sanitize else ()))


if __name__ == "__main__":
    _main()
