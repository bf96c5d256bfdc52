import ast
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.compiled import allocation_free_kernel, dot, kernel

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parents[3]
_PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:]
import a_module_of_kernels
print(a_module_of_kernels.twice(21))
"""
_ON_A_FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a_module_of_kernels.py").write_text(
        "from shared.compiled import kernel\n\n\n@kernel\ndef twice(x):\n    return 2 * x\n"
    )
    return folder


def _started(
    kernels: Path, program: str = _PROGRAM, root: Path = _ROOT, **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-B", "-W", "error", "-c", program, str(root), str(kernels)],
        env={"PATH": "/usr/bin:/bin", **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def _said(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    return said.strip()


def _run(kernels: Path, program: str = _PROGRAM, **environment: str) -> str:
    return _said(_started(kernels, program, **environment))


def test_what_is_compiled_is_kept_for_the_next_process(kernels: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert _run(kernels, NUMBA_CACHE_DIR=str(cache)) == "42"
    kept = {path.name: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")}
    assert kept
    assert _run(kernels, NUMBA_CACHE_DIR=str(cache)) == "42"
    assert {path.name: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")} == kept


def test_processes_that_need_a_kernel_at_once_compile_it_once(
    kernels: Path, tmp_path: Path
) -> None:
    chosen = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_DEBUG_CACHE": "1"}
    said = [_said(process) for process in [_started(kernels, **chosen) for _ in range(3)]]
    assert [text.splitlines()[-1] for text in said] == ["42"] * 3
    assert sum(text.count("data saved to") for text in said) == 1


def test_a_checkout_elsewhere_with_the_same_sources_loads_what_another_compiled(
    tmp_path: Path,
) -> None:
    uses = "import sys\nsys.path[:0] = sys.argv[1:2]\nfrom services.detector import order\n"
    uses += "import numpy as np\nprint(order.insert.stats.cache_path)\n"
    elsewhere = tmp_path / "elsewhere"
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("services/detector", "services/predictor", "shared"):
        shutil.copytree(_ROOT / folder, elsewhere / folder, ignore=ignored)
    shutil.copy(_ROOT / "services/__init__.py", elsewhere / "services")
    cache = str(tmp_path / "cache")
    places = [
        _said(_started(tmp_path, uses, root, NUMBA_CACHE_DIR=cache)) for root in (_ROOT, elsewhere)
    ]
    assert places[0] == places[1]
    assert places[0].startswith(cache)


@pytest.fixture
def shipped(kernels: Path, tmp_path: Path) -> Path:
    """A checkout that brings what was compiled, as an image does."""
    root = tmp_path / "image"
    (root / "shared").mkdir(parents=True)
    for name in ("__init__.py", "compiled.py"):
        shutil.copy(_ROOT / "shared" / name, root / "shared")
    _said(_started(kernels, root=root, NUMBA_CACHE_DIR=str(root / "kernels")))
    return root


def test_what_came_with_the_sources_is_loaded_and_never_written_to(
    kernels: Path, shipped: Path, tmp_path: Path
) -> None:
    brought = sorted(path.name for path in (shipped / "kernels").rglob("*"))
    (tmp_path / "file").touch()
    writable, none = (
        {"NUMBA_CACHE_DIR": str(tmp_path / "own")},
        {"XDG_CACHE_HOME": str(tmp_path / "file")},
    )
    for place in (writable, none):
        said = _said(_started(kernels, root=shipped, NUMBA_DEBUG_CACHE="1", **place))
        assert "data loaded from" in said
        assert "data saved to" not in said
    assert sorted(path.name for path in (shipped / "kernels").rglob("*")) == brought


def test_what_came_for_another_processor_is_compiled_anew_and_kept(
    kernels: Path, shipped: Path, tmp_path: Path
) -> None:
    chosen = {"NUMBA_CACHE_DIR": str(tmp_path / "own"), "NUMBA_CPU_NAME": "generic"}
    assert _said(_started(kernels, root=shipped, **chosen)) == "42"
    assert list((tmp_path / "own").rglob("*.nbc"))


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_what_a_power_cut_left_half_written_is_compiled_anew(
    kernels: Path, tmp_path: Path, suffix: str
) -> None:
    chosen = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert _run(kernels, **chosen) == "42"
    (kept,) = (tmp_path / "cache").rglob(f"*.{suffix}")
    whole = kept.stat().st_size
    kept.write_bytes(kept.read_bytes()[:40])
    assert _run(kernels, **chosen) == "42"
    assert kept.stat().st_size == whole, "and the next process finds it whole"


def test_on_a_full_disk_it_compiles_all_the_same(kernels: Path, tmp_path: Path) -> None:
    chosen = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert _run(kernels, _ON_A_FULL_DISK + _PROGRAM, **chosen) == "42"
    assert not list((tmp_path / "cache").rglob("*.nbc"))


def test_without_a_place_for_a_cache_it_compiles_all_the_same(
    kernels: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert _run(kernels, XDG_CACHE_HOME=str(tmp_path / "file")) == "42"
    assert not list(kernels.rglob("*.nb?"))


def test_without_a_choice_it_is_kept_in_the_users_cache(kernels: Path, tmp_path: Path) -> None:
    assert _run(kernels, HOME=str(tmp_path)) == "42"
    assert list((tmp_path / ".cache" / "barograph" / "numba").rglob("*.nbc"))


def test_no_kernel_lets_its_sums_be_reordered() -> None:
    """Such a kernel's last bits depend on which of its copies was loaded first."""
    calls = [
        f"{path.relative_to(_ROOT)}:{call.lineno}"
        for folder in ("services", "shared", "replay")
        for path in sorted((_ROOT / folder).rglob("*.py"))
        if "fastmath" in (source := path.read_text())
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and any(one.arg == "fastmath" for one in call.keywords)
    ]
    assert calls == []


def test_an_allocation_free_kernel_works_on_views_and_refuses_to_allocate() -> None:
    table = np.arange(6.0).reshape(2, 3)
    add_to_row(table, 1, 10.0)
    assert table.tolist() == [[0, 1, 2], [13, 14, 15]]
    with pytest.raises(numba.core.errors.NumbaError, match="built-in function empty"):
        row_of_its_own(3)


@pytest.mark.parametrize("points", [0, 1, 7, 8, 9, 23, 672])
def test_a_product_is_right_for_any_length_and_the_same_wherever_it_lies(points: int) -> None:
    a, b = np.random.default_rng(points).normal(size=(2, points + 8))
    exact = math.fsum(x * y for x, y in zip(a[:points], b[:points], strict=True))
    assert dot(a[:points], b) == pytest.approx(exact, rel=1e-12, abs=1e-12)
    moved = {dot(np.append(np.zeros(k), a[:points])[k:], b[:points]) for k in range(8)}
    # As its own copy, and as the one that is compiled into a caller.
    assert moved == {product_of_rows(np.stack([a, b]), points)}


def test_a_product_refuses_what_is_not_contiguous() -> None:
    """Its registers would be filled with the elements between."""
    with pytest.raises(numba.core.errors.NumbaError):
        dot(np.arange(16.0)[::2], np.arange(8.0))


@kernel
def product_of_rows(table: NDArray[np.float64], points: int) -> float:
    return dot(table[0, :points], table[1])


@allocation_free_kernel
def add_to_row(table: NDArray[np.float64], at: int, value: float) -> None:
    row = table[at]
    for i in range(len(row)):
        row[i] += value


@allocation_free_kernel
def row_of_its_own(length: int) -> float:
    return float(np.empty(length)[0])
