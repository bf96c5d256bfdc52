"""Checks the syntax of a folder's main program before it is uploaded."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path


def syntax_problem(folder: Path, main: str) -> str:
    """The fault that this machine's Python finds in ``folder/code/main``; '' for none."""
    path = folder / "code" / main
    if path.suffix != ".py":
        return ""  # it is refused for that
    try:
        source = path.read_bytes()
        if b"\x00" in source:
            return f"{main} holds NUL characters: it is no text in UTF-8"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are the program's own business
            ast.parse(source, str(Path(main)))
    except SyntaxError as error:
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    except (OSError, ValueError, RecursionError, MemoryError):
        return ""  # nothing that could be said for sure
    return ""
