"""Numerical kernels in machine code: numba's doorway.

Importing this imports numba (over a second): a module of kernels is itself imported only where
its kernels run. The first call compiles; what is compiled is kept for the next process in
``NUMBA_CACHE_DIR``, or else in the user's cache. Where neither can be written (a read-only file
system), each process compiles for itself. What is kept belongs to all kernels' sources as they
were: a kernel holds the machine code of those it calls, also from other files.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

_F = TypeVar("_F", bound=Callable[..., object])


def _sources() -> str:
    """A digest of every file here that has kernels."""
    digest = hashlib.blake2b(digest_size=8)
    root = Path(__file__).parents[1]
    for folder in ("services", "shared"):
        for path in sorted((root / folder).rglob("*.py")):
            if b"shared.compiled import" in (source := path.read_bytes()):
                digest.update(source)
    return digest.hexdigest()


def _cache() -> str:
    """A directory for compiled code that only we can write to; empty: there is none."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    try:
        directory = Path(chosen) if chosen else root.expanduser() / "barograph" / "numba"
        directory /= _sources()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return ""
    # Machine code is loaded from here: never from a place that is somebody else's.
    owned = directory.stat().st_uid == os.geteuid()
    return str(directory) if owned and os.access(directory, os.W_OK) else ""


numba.config.CACHE_DIR = _cache()


def kernel(function: _F) -> _F:
    """Compile ``function`` on its first call, for the types it is called with.

    Array indices are not checked and division by zero gives inf or NaN, as in numpy's arrays.
    The interpreter's lock is released while it runs. Sums are added up as written, no ``fastmath``:
    a kernel is compiled once by itself and once into each caller, which copy runs depends on what
    was loaded first, and copies in which sums were reordered would differ in their last bits.
    """
    compiled = numba.njit(cache=bool(numba.config.CACHE_DIR), nogil=True, error_model="numpy")(
        function
    )
    return cast(_F, compiled)


_LINE_BYTES = 64


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch_line(_context: Any, array: Any, _offset: Any) -> Any:
    """The intrinsic ``llvm.prefetch`` (read, keep in all caches) of the array's byte ``offset``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        shape = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
        place = builder.gep(builder.bitcast(data, byte), [args[1]])
        builder.call(function, [place, *(ir.Constant(number, k) for k in (0, 3, 1))])
        return context.get_dummy_value()

    return numba.types.void(array, numba.types.intp), generate


@kernel
def prefetch(table: Any, row: int) -> None:
    """In a kernel: begin to fetch ``table[row]`` into the caches; the kernel goes on meanwhile."""
    begin = row * table.strides[0]
    for offset in range(begin, begin + table.strides[0], _LINE_BYTES):
        _prefetch_line(table, offset)


@intrinsic  # type: ignore[untyped-decorator]
def _load_word(_context: Any, array: Any, _offset: Any) -> Any:
    """The eight bytes from ``offset`` on as a little-endian number, in one load."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        word = ir.IntType(64)
        place = builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [args[1]])
        found = builder.load(builder.bitcast(place, word.as_pointer()), align=1)
        return found if sys.byteorder == "little" else builder.bswap(found)

    return numba.types.uint64(array, numba.types.intp), generate


@kernel
def load_word(data: NDArray[np.uint8], at: int | np.int64) -> np.uint64:
    """In a kernel: bytes ``at`` to ``at + 7`` of contiguous ``data``, which must have them."""
    found: np.uint64 = _load_word(data, at)
    return found
