"""Checks of a job that hold wherever it runs, beyond its contract's checks of each field.

The task service refuses a job for it, and a dry run without any service names it.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.contracts import JobSubmit, is_reserved_variable, memory_bytes

_MIN_MEMORY = 2**20 * 16
_MADE_PYTHON = {
    "ipynb": "; make one of the notebook: jupyter nbconvert --to script NOTEBOOK",
    "sh": "; have one start the script: subprocess.run(['bash', 'NAME.sh'], check=True)",
}
"""Advice for programs of other kinds."""


def job_faults(submit: JobSubmit) -> Iterator[tuple[str, str]]:
    """Each fault's field and problem."""
    for check in (_memory, _labels, _program, _environment):
        yield from check(submit)


def _memory(submit: JobSubmit) -> Iterator[tuple[str, str]]:
    for role in submit.roles():
        asked = submit.resources_of(role).memory
        field = f"role_resources.{role}" if role in submit.role_resources else "resources"
        if memory_bytes(asked) < _MIN_MEMORY:
            unit = "" if asked[-1:].isalpha() else "; a number alone is bytes, write Mi or Gi"
            yield f"{field}.memory", f"less than 16Mi cannot hold any program{unit}"


def _labels(submit: JobSubmit) -> Iterator[tuple[str, str]]:
    """A label could say another project than the one whose people see the job."""
    if "project" in submit.labels:
        yield "labels.project", f"this is a field of its own: project: {submit.labels['project']}"


def _program(submit: JobSubmit) -> Iterator[tuple[str, str]]:
    if not submit.main.endswith(".py"):
        hint = _MADE_PYTHON.get(submit.main.rpartition(".")[2].lower(), "")
        yield "main", f"must name a Python file (.py){hint}"
    if any("\x00" in arg for arg in submit.args):
        yield "args", "must not contain NUL characters"


def _environment(submit: JobSubmit) -> Iterator[tuple[str, str]]:
    for name, value in submit.env.items():
        if is_reserved_variable(name):
            yield f"env.{name}", "this name is reserved for the platform"
        if "\x00" in value:
            yield f"env.{name}", "must not contain NUL characters"
    for number, each in enumerate(submit.env_value_from):
        if is_reserved_variable(each.name):
            yield f"env_value_from.{number}.name", "this name is reserved for the platform"
