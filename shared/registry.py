"""Registry of plug-ins of one kind: built in, and from installed packages.

A plug-in is one file with a decorated class or function. Files of our own package are found where
they lie; an installed distribution names its own by an entry point::

    [project.entry-points."barograph.detectors"]
    rising_star = "my_package.rising_star"

A plug-in runs with all rights of the service that loads it, so only what an installer has
installed is taken, and one that fails stops the service at start, by name.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from threading import RLock
from typing import Generic, TypeVar

T = TypeVar("T")


class RegistryError(ValueError):
    """A plug-in cannot be used; the text names each that cannot, and why."""


class Registry(Generic[T]):
    """The plug-ins registered under names; they are imported at first use."""

    def __init__(self, kind: str, package: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._package = package
        self._own: dict[str, T] = {}
        self._others: dict[str, T] = {}
        self._faults: list[str] | None = None
        self._lock = RLock()

    def add(self, name: str, value: T, *, module: str = "") -> None:
        """Register what is defined in ``module``, by default its own; no name is given twice."""
        if name in self._own or name in self._others:
            msg = f"two {self.kind}s are named {name!r}"
            raise ValueError(msg)
        own = (module or str(getattr(value, "__module__", ""))).startswith(f"{self._package}.")
        (self._own if own else self._others)[name] = value

    def own(self) -> dict[str, T]:
        """The plug-ins of our own package, in alphabetical order."""
        self._load()
        return dict(sorted(self._own.items()))

    def all(self) -> dict[str, T]:
        """Every one by name, in alphabetical order.

        Raises:
            RegistryError: when an installed plug-in cannot be used.
        """
        faults = self.faults()
        if faults:
            raise RegistryError("; ".join(faults))
        return dict(sorted((self._own | self._others).items()))

    def get(self, name: str) -> T:
        """The one of this name; KeyError that says which there are."""
        found = self.all()
        if name not in found:
            msg = f"no {self.kind} {name!r}; there are {', '.join(found)}"
            raise KeyError(msg)
        return found[name]

    def faults(self) -> list[str]:
        """One sentence for each installed plug-in that cannot be used."""
        self._load()
        return list(self._faults or ())

    def _load(self) -> None:
        with self._lock:
            if self._faults is not None:
                return
            self._faults = []  # a plug-in that asks while it is imported sees those before it
            for module in self._modules():
                importlib.import_module(module)
            for distribution, point in self._entry_points():
                self._load_one(distribution, point, self._faults)

    def _modules(self) -> Iterator[str]:
        """Our own files that register something.

        Others, such as compiled kernels, take seconds to import; who needs them imports them.
        """
        decorator = re.compile(rf"^@{self.kind.replace(' ', '_')}\b", re.MULTILINE)
        package = importlib.import_module(self._package)
        for found in pkgutil.iter_modules(package.__path__):
            files = (Path(place) / f"{found.name}.py" for place in package.__path__)
            if any(file.exists() and decorator.search(file.read_text()) for file in files):
                yield f"{self._package}.{found.name}"

    def _entry_points(self) -> Iterator[tuple[Distribution, EntryPoint]]:
        for distribution in distributions():
            # A folder on the path is not an installed distribution.
            if distribution.read_text("RECORD") is not None:
                for point in distribution.entry_points:
                    if point.group == self.group:
                        yield distribution, point

    def _load_one(self, distribution: Distribution, point: EntryPoint, faults: list[str]) -> None:
        before, problem = dict(self._others), ""
        try:
            point.load()
        except Exception as error:  # noqa: BLE001 - anything may be wrong in somebody else's file
            problem = f"{type(error).__name__}: {error}"
        if not problem and point.name not in self._others:
            problem = f"{point.value} registers no {self.kind} of this name"
        if problem:
            self._others = before
            name = f"{point.name!r} of {distribution.name} {distribution.version}"
            faults.append(f"{self.kind} {name} cannot be used: {problem}")
