import ast
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:]
import a_module_of_kernels
print(a_module_of_kernels.twice(21))
"""


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a_module_of_kernels.py").write_text(
        "from shared.compiled import kernel\n\n\n@kernel\ndef twice(x):\n    return 2 * x\n"
    )
    return folder


def _run(kernels: Path, **environment: str) -> str:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", _PROGRAM, str(root), str(kernels)],
        env={"PATH": "/usr/bin:/bin", **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout.strip()


def test_what_is_compiled_is_kept_for_the_next_process(kernels: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert _run(kernels, NUMBA_CACHE_DIR=str(cache)) == "42"
    kept = {path.name: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")}
    assert kept
    assert _run(kernels, NUMBA_CACHE_DIR=str(cache)) == "42"
    assert {path.name: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")} == kept


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
    root = Path(__file__).parents[3]
    calls = [
        f"{path.relative_to(root)}:{call.lineno}"
        for folder in ("services", "shared", "replay")
        for path in sorted((root / folder).rglob("*.py"))
        if "fastmath" in (source := path.read_text())
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and any(one.arg == "fastmath" for one in call.keywords)
    ]
    assert calls == []
