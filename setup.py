"""Compiles the kernels of mlstore._core.

MLSTORE_BUILD=release (default) | debug (bounds checks, line tracing) | sanitize (debug under address and undefined-behaviour sanitizers).
MLSTORE_KERNELS=rows,keys compiles only the named kernels; a name that none has compiles none.
The builds never mix: each keeps its generated C in a folder of its own, and `make debug` keeps its libraries in one too.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

BUILD = os.environ.get("MLSTORE_BUILD", "release")
ONLY = [name for name in os.environ.get("MLSTORE_KERNELS", "").split(",") if name]

DIRECTIVES = {"language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True, "initializedcheck": False}
CHECKED_DIRECTIVES = DIRECTIVES | {"boundscheck": True, "cdivision": False, "initializedcheck": True, "linetrace": True}
# A product and a sum stay two roundings, on every processor: sums must come out the same wherever the compiler put them.
EXACT = [] if sys.platform == "win32" else ["-ffp-contract=off"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
FLAGS = {
    "release": (["/O2"] if sys.platform == "win32" else ["-O3", *EXACT], []),
    "debug": (["-O1", "-g", *EXACT], []),
    "sanitize": (["-O1", "-g", *EXACT, *SANITIZERS], SANITIZERS[:1]),
}
if BUILD not in FLAGS:
    raise SystemExit(f"MLSTORE_BUILD={BUILD}: expected one of {', '.join(FLAGS)}")
is_checked = BUILD != "release"

compile_args, link_args = FLAGS[BUILD]
kernels = [
    Extension(
        f"mlstore._core.{source.stem}",
        [str(source)],
        define_macros=[("CYTHON_TRACE", "1")] if is_checked else [],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for source in sorted(Path("src/mlstore/_core").glob("*.pyx"))
    if not ONLY or source.stem in ONLY
]

setup(
    ext_modules=cythonize(
        kernels,
        compiler_directives=CHECKED_DIRECTIVES if is_checked else DIRECTIVES,
        build_dir=f"build/cython-{BUILD}",
    )
)
