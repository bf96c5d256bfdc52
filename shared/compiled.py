"""Compiled numerical kernels; the only module that imports numba.

Importing this imports numba (over a second): a module of kernels is itself imported only where
its kernels run. The first call compiles; what is compiled is kept for the next process in
``NUMBA_CACHE_DIR``, or else in the user's cache. Where neither can be written (a read-only file
system, a full disk), each process compiles for itself. What is kept belongs to all kernels' sources
as they were: a kernel holds the machine code of those it calls, also from other files. It serves
every checkout with the same sources, and processes that need a kernel at the same moment compile
it once.

All kernels together take a minute of processor time to compile, so ``make setup`` has it done
(``python -m services.SERVICE.compiling``), and so has the build of an image, which brings what was
compiled in a folder ``kernels`` beside the sources. That folder is only read.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import caching, cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic
from numpy.typing import NDArray

_F = TypeVar("_F", bound=Callable[..., object])
_ROOT = Path(__file__).parents[1]


def _sources() -> str:
    """A digest of every file here that has kernels."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in ("services", "shared"):
        for path in sorted((_ROOT / folder).rglob("*.py")):
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
    # Machine code is loaded from here, so the directory must belong to us.
    owned = directory.stat().st_uid == os.geteuid()
    return str(directory) if owned and os.access(directory, os.W_OK) else ""


def _shipped() -> str:
    """The directory of kernels that came with the sources, if it was compiled from these."""
    directory = _ROOT / "kernels" / _sources()
    return str(directory) if directory.is_dir() else ""


_SHIPPED = _shipped()
numba.config.CACHE_DIR = _cache() or _SHIPPED


class _Locator(caching.UserProvidedCacheLocator):  # type: ignore[misc] # numba has no types
    """Locates a module's cache folder by its path within the checkout."""

    def ensure_cache_path(self) -> None:
        with suppress(OSError):  # where nothing can be kept, there may still be something to load
            super().ensure_cache_path()

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        path = Path(py_file).resolve()
        if not path.is_relative_to(_ROOT):  # somebody's plug-in, whose source has no digest above
            return str(super().get_suitable_cache_subpath(py_file))
        return ".".join(path.relative_to(_ROOT).parent.parts)


class _ShippedLocator(_Locator):
    """Locates the same folder among the kernels shipped with the sources."""

    def get_cache_path(self) -> str:
        return str(Path(_SHIPPED, self.get_suitable_cache_subpath(self._py_file)))

    def ensure_cache_path(self) -> None:
        """Nothing is ever written there."""


class _CompileResults(caching.CompileResultCacheImpl):  # type: ignore[misc] # numba has no types
    _locator_classes = (_Locator,)


class _ShippedResults(caching.CompileResultCacheImpl):  # type: ignore[misc] # numba has no types
    _locator_classes = (_ShippedLocator,)


class _Shipped(caching.FunctionCache):  # type: ignore[misc] # numba has no types
    """The shipped overloads of one kernel, for their kind of processor."""

    _impl_class = _ShippedResults


class _Kept(caching.FunctionCache):  # type: ignore[misc] # numba has no types
    """The compiled overloads of one kernel on disk; disk errors do not prevent it from running."""

    _impl_class = _CompileResults

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__(function)
        self._shipped = _Shipped(function) if _SHIPPED else None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if self._shipped and (found := self._shipped.load_overload(sig, target_context)):
            return found
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001 - unpickling what a power cut left may raise anything
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # a full disk: the next process compiles again
            super().save_overload(sig, data)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Keep other processes from compiling this kernel, or loading it half saved, meanwhile."""
        with ExitStack() as held:
            try:
                path = Path(self.cache_path, f"{self._impl.filename_base}.lock")
                fcntl.flock(held.enter_context(path.open("w")), fcntl.LOCK_EX)
            except OSError:  # without a lock it is only compiled more often
                pass
            yield


_compiling: set[str] = set()
"""The kernels that this process compiles now, each for the sake of the one before it."""


def _once(compiled: Any, kept: _Kept) -> Any:
    """The dispatcher ``compiled``, which compiles when no other process compiles the same."""
    compile_now = compiled.compile

    def compile_in_turn(sig: Any) -> Any:
        # Threads take turns first: one that had the file and one that had numba's own lock would
        # wait for each other.
        with global_compiler_lock:
            name = str(kept)
            if name in _compiling:
                return compile_now(sig)
            _compiling.add(name)
            try:
                with kept.turn():
                    return compile_now(sig)
            finally:
                _compiling.remove(name)

    compiled._cache = kept  # noqa: SLF001 - numba offers no other way to name the place
    compiled.compile = compile_in_turn
    return compiled


def kernel(function: _F) -> _F:
    """Compile ``function`` on its first call, for the types it is called with.

    Array indices are not checked and division by zero gives inf or NaN, as in numpy's arrays.
    The interpreter's lock is released while it runs. Sums are added up as written, no ``fastmath``:
    a kernel is compiled once by itself and once into each caller, which copy runs depends on what
    was loaded first, and copies in which sums were reordered would differ in their last bits.
    """
    return _compiled(function, counts_references=True)


def allocation_free_kernel(function: _F) -> _F:
    """A ``kernel`` that makes no array of its own, only views of those it is given.

    Numba counts the references to an array for every view, with an atomic instruction each way;
    in a kernel that takes a few rows of a table a point, that is most of its time. Here nothing is
    counted, as the caller keeps the arrays. Whatever would allocate (``np.empty``, assigning to a
    slice) does not compile.
    """
    return _compiled(function, counts_references=False)


def _compiled(function: _F, *, counts_references: bool) -> _F:
    compiled = numba.njit(nogil=True, error_model="numpy", _nrt=counts_references)(function)
    if numba.config.CACHE_DIR:
        compiled = _once(compiled, _Kept(function))
    return cast(_F, compiled)


_LINE_BYTES = 64


@intrinsic  # type: ignore[untyped-decorator] # numba has no types
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


@allocation_free_kernel
def prefetch(table: Any, row: int) -> None:
    """In a kernel: begin to fetch ``table[row]`` into the caches without waiting for it."""
    begin = row * table.strides[0]
    for offset in range(begin, begin + table.strides[0], _LINE_BYTES):
        _prefetch_line(table, offset)


@intrinsic  # type: ignore[untyped-decorator] # numba has no types
def _load_word(_context: Any, array: Any, _offset: Any) -> Any:
    """The eight bytes from ``offset`` on as a little-endian number, in one load."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        word = ir.IntType(64)
        place = builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [args[1]])
        found = builder.load(builder.bitcast(place, word.as_pointer()), align=1)
        return found if sys.byteorder == "little" else builder.bswap(found)

    return numba.types.uint64(array, numba.types.intp), generate


@allocation_free_kernel
def load_word(data: NDArray[np.uint8], at: int | np.int64) -> np.uint64:
    """In a kernel: bytes ``at`` to ``at + 7`` of contiguous ``data``, which must have them."""
    found: np.uint64 = _load_word(data, at)
    return found


_LANES = 8
"""Sums kept beside each other: two or four registers of any processor, so none waits for itself."""


@intrinsic  # type: ignore[untyped-decorator] # numba has no types
def _sum_lanes(_context: Any, a: Any, b: Any, _count: Any) -> Any:
    """The sum of the products of the first ``count`` (a multiple of the lanes) elements."""
    if a.layout != "C" or b.layout != "C":
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number, index = ir.DoubleType(), args[2].type
        lanes = ir.VectorType(number, _LANES)
        first, second = (
            builder.bitcast(
                context.make_array(kind)(context, builder, arg).data, number.as_pointer()
            )
            for kind, arg in zip(signature.args[:2], args[:2], strict=True)
        )
        total = cgutils.alloca_once_value(builder, ir.Constant(lanes, [0.0] * _LANES))
        turns = builder.sdiv(args[2], ir.Constant(index, _LANES))
        with cgutils.for_range(builder, turns) as loop:
            at = builder.mul(loop.index, ir.Constant(index, _LANES))
            x, y = (
                builder.load(builder.bitcast(builder.gep(data, [at]), lanes.as_pointer()), align=8)
                for data in (first, second)
            )
            builder.store(builder.fadd(builder.load(total), builder.fmul(x, y)), total)
        done = builder.load(total)
        parts = [builder.extract_element(done, ir.IntType(32)(lane)) for lane in range(_LANES)]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [builder.fadd(parts[at], parts[at + half]) for at in range(half)]
        return parts[0]

    return numba.types.float64(a, b, numba.types.intp), generate


@allocation_free_kernel
def dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """In a kernel: the sum of products over the length of ``a``, both contiguous.

    In sums beside each other whose order is written down: several times quicker than one sum, and
    the same to the last bit in every copy and on every processor, as ``fastmath`` would not be.
    """
    whole = a.shape[0] - a.shape[0] % _LANES
    total: float = _sum_lanes(a, b, whole)
    for i in range(whole, a.shape[0]):
        total += a[i] * b[i]
    return total
