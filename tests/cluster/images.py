"""``python -m tests.cluster.images``: the real node's images, without registry or daemon.

Debian's packages make the base, buildah builds this repository's ``Dockerfile`` on it (pip is
configured as on this machine), and all images lie in one OCI layout in the user's cache. Runs
before the private network is entered: packages come from outside.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from shared.embedded.object_store import find_server
from shared.embedded.process import EmbeddedError

ROOT = Path(__file__).parents[2]
RECIPES = Path(__file__).with_name("images")
SERVICES = ("client", "task", "autospec", "detector", "predictor", "healer")
OURS = (*SERVICES, "agent")
# A host of this name exists nowhere: an image that is not here cannot be pulled by mistake.
REGISTRY = "images.invalid"
TAG = "test"
_SYSTEMS = {
    "base": ("bookworm", "python3,python3-venv,ca-certificates"),
    "servers": ("trixie", "rabbitmq-server,postgresql,ca-certificates"),
}
_STATIC = ("pause", "coredns", "netpol")
# The examples import these beyond the predictor's packages.
_EXAMPLES = ("scikit-learn", "joblib", "threadpoolctl", "cloudpickle", "narwhals")
_KEPT_BUILDS = 2


def image(name: str) -> str:
    """An image's full name on the node."""
    return f"{REGISTRY}/{name}:{TAG}"


def cache() -> Path:
    """Return where builds and images are kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return home / "barograph/cluster/images"


@dataclass(frozen=True)
class Images:
    """The images of one state of the sources."""

    index: Path

    @classmethod
    def of_sources(cls) -> Images:
        return cls(cache() / f"{_sources_hash()}.json")

    def relatives(self) -> list[Path]:
        """What other states of the sources have unpacked, newest first: they share most layers."""
        found = self.unpacked.parent.glob("*")
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)

    def require(self) -> Images:
        """Self. EmbeddedError when they are not built."""
        if not self.index.exists():
            raise EmbeddedError(
                "the node's images are not built, or older than the sources: "
                "run `scripts/cluster.sh images`"
            )
        return self

    @property
    def unpacked(self) -> Path:
        """Return where a node keeps them as containerd has unpacked them."""
        return cache() / "unpacked" / self.index.stem

    def write_archive(self, to: IO[bytes]) -> None:
        """An OCI archive of all of them, as ``ctr images import`` reads it."""
        with tarfile.open(fileobj=to, mode="w|") as archive:
            _add_text(archive, "oci-layout", '{"imageLayoutVersion": "1.0.0"}')
            _add_text(archive, "index.json", self.index.read_text())
            for digest in sorted(reachable(self.index)):
                archive.add(_blob(digest), f"blobs/{digest.replace(':', '/')}")


def reachable(index: Path) -> set[str]:
    """Digests of all blobs an index leads to."""
    found: set[str] = set()
    for entry in json.loads(index.read_text())["manifests"]:
        manifest = json.loads(_blob(entry["digest"]).read_text())
        found |= {entry["digest"], manifest["config"]["digest"]}
        found |= {layer["digest"] for layer in manifest["layers"]}
    return found


def build(programs: Path) -> None:
    """Build what is missing for the present sources; quick where nothing is."""
    wanted = Images.of_sources()
    if wanted.index.exists():
        wanted.index.touch()
        return
    _require_tools()
    with _alone(), tempfile.TemporaryDirectory(dir=cache()) as scratch:
        if wanted.index.exists():
            return
        builder = _Builder(Path(scratch), programs)
        builder.build_all()
        _publish(wanted.index)
        _forget_old()


class _Builder:
    """Builds images with buildah's storage in the cache: unchanged layers are not built again."""

    def __init__(self, scratch: Path, programs: Path) -> None:
        self.scratch, self.programs = scratch, programs
        self._pip = scratch / "pip.conf"
        self._pip.write_text(_pip_configuration())

    def build_all(self) -> None:
        for name in _SYSTEMS:
            self._system(name)
        for service in OURS:
            arguments = {"SERVICE": service, "BASE": image("base")}
            self._bud(f"barograph-{service}", ROOT, ROOT / "Dockerfile", arguments)
        context = self._context("program", {})
        (context / "examples.txt").write_text(_locked(_EXAMPLES))
        arguments = {"FROM": image("barograph-predictor")}
        self._bud("program", context, RECIPES / "program.containerfile", arguments)
        for name in _STATIC:
            context = self._context(name, {name: self.programs / name})
            self._bud(name, context, RECIPES / "static.containerfile", {"NAME": name})

    def _system(self, name: str) -> None:
        """A Debian from its packages; made again only when its recipe changes."""
        suite, packages = _SYSTEMS[name]
        recipe = RECIPES / f"{name}.containerfile"
        key = hashlib.sha256(f"{suite} {packages} {recipe.read_text()}".encode()).hexdigest()[:16]
        kept = f"{REGISTRY}/{name}:{key}"
        if not self._exists(kept):
            context = self._context(name, {"weed": find_server()} if name == "servers" else {})
            _debian(suite, packages, context / "system.tar")
            self._bud(name, context, recipe, {})
            self._buildah("tag", image(name), kept)
            (context / "system.tar").unlink()
        self._buildah("tag", kept, image(name))
        self._push(name)

    def _bud(self, name: str, context: Path, recipe: Path, arguments: Mapping[str, str]) -> None:
        started = time.monotonic()
        options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        certificates = "/etc/ssl/certs/ca-certificates.crt"
        options.append(f"--volume={self._pip}:/etc/pip.conf:ro")
        if Path(certificates).exists():
            options.append(f"--volume={certificates}:{certificates}:ro")
        self._buildah(
            "bud",
            "--isolation=chroot",
            "--layers",
            "--pull-never",
            "--format=oci",
            f"--file={recipe}",
            f"--tag={image(name)}",
            *options,
            str(context),
        )
        self._push(name)
        _say(f"{name}: {time.monotonic() - started:.0f} s")

    def _push(self, name: str) -> None:
        layout = cache() / "layout"
        kept = layout.with_name("pushed") / name
        found = self._run("inspect", "--type=image", "--format={{.FromImageID}}", image(name))
        if kept.exists() and kept.read_text() == found.stdout:
            return
        self._buildah("push", image(name), f"oci:{layout}:{image(name)}")
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(found.stdout)

    def _exists(self, name: str) -> bool:
        return not self._run("inspect", "--type=image", name).returncode

    def _buildah(self, *arguments: str) -> None:
        done = self._run(*arguments)
        if done.returncode:
            raise EmbeddedError(f"buildah {arguments[0]} failed:\n{done.stdout[-4000:]}")

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        storage = [f"--root={cache() / 'storage'}", f"--runroot={self.scratch / 'run'}"]
        return subprocess.run(
            ["buildah", *storage, "--storage-driver=overlay", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def _context(self, name: str, files: Mapping[str, Path]) -> Path:
        directory = self.scratch / name
        directory.mkdir()
        for file, source in files.items():
            shutil.copy(source, directory / file)
        return directory


def _debian(suite: str, packages: str, to: Path) -> None:
    """A small Debian as a tar file."""
    started = time.monotonic()
    unwanted = ("doc", "man", "locale", "info")
    done = subprocess.run(
        [
            "mmdebstrap",
            "--variant=minbase",
            "--skip=output/dev",
            f"--include={packages}",
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in unwanted),
            suite,
            str(to),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EmbeddedError(f"mmdebstrap {suite} failed:\n{done.stderr[-4000:]}")
    _say(f"Debian {suite} with {packages}: {time.monotonic() - started:.0f} s")


def _pip_configuration() -> str:
    """Return where packages come from, as this machine says it; paths of this machine left out."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    found = re.findall(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", done.stdout, re.MULTILINE)
    lines = [f"{key} = {value}" for key, value in found if not value.startswith("/")]
    return "\n".join(["[global]", "cert = /etc/ssl/certs/ca-certificates.crt", *lines, ""])


def _locked(names: tuple[str, ...]) -> str:
    """Some packages of the lock, with their hashes."""
    lock = (ROOT / "requirements/embedded.txt").read_text()
    blocks = re.findall(r"^\S[^\n]*==(?:[^\n]*\\\n)*[^\n]*$", lock, re.MULTILINE)
    chosen = [block for block in blocks if block.split("==")[0] in names]
    if len(chosen) != len(names):
        raise EmbeddedError(f"not all of {', '.join(names)} are in requirements/embedded.txt")
    return "\n".join(chosen) + "\n"


def _sources_hash() -> str:
    """The digest of everything that goes into an image."""
    files = [ROOT / "Dockerfile", ROOT / ".dockerignore", Path(__file__)]
    files += sorted((ROOT / "requirements").glob("*.txt"))
    for directory in (RECIPES, ROOT / "tests/cluster/build", ROOT / "shared", ROOT / "services"):
        files += sorted(path for path in directory.rglob("*") if _is_source(path))
    total = hashlib.sha256()
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(ROOT)} {content}\n".encode())
    return total.hexdigest()[:16]


def _is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _publish(index: Path) -> None:
    """Keep the layout's index under the sources' hash, with names as containerd reads them."""
    found: dict[str, Any] = json.loads((cache() / "layout/index.json").read_text())
    # One whose name was given to another has none any more.
    found["manifests"] = [entry for entry in found["manifests"] if entry.get("annotations")]
    for entry in found["manifests"]:
        name = entry["annotations"]["org.opencontainers.image.ref.name"]
        entry["annotations"]["io.containerd.image.name"] = name
    partial = index.with_suffix(".partial")
    partial.write_text(json.dumps(found))
    partial.rename(index)


def _forget_old() -> None:
    builds = sorted(cache().glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in builds[_KEPT_BUILDS:]:
        path.unlink()
        shutil.rmtree(Images(path).unpacked, ignore_errors=True)
    kept = set().union(*(reachable(path) for path in builds[:_KEPT_BUILDS]))
    for path in (cache() / "layout/blobs/sha256").iterdir():
        if f"sha256:{path.name}" not in kept:
            path.unlink()


def _blob(digest: str) -> Path:
    return cache() / "layout/blobs" / digest.replace(":", "/")


@contextmanager
def _alone() -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _require_tools() -> None:
    missing = [name for name in ("buildah", "mmdebstrap") if shutil.which(name) is None]
    if missing or os.geteuid():
        raise EmbeddedError(
            "building images needs root, buildah and mmdebstrap (`scripts/setup.sh node` installs "
            f"them); missing: {', '.join(missing) or 'root'}. Or name a cluster to use in "
            "BAROGRAPH_TEST_KUBECONFIG"
        )


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write(text)
        file.flush()
        archive.add(file.name, name)


def _say(text: str) -> None:
    sys.stderr.write(f"images: {text}\n")


def main() -> None:
    """The program; its argument is the directory with the cluster's programs."""
    try:
        build(Path(sys.argv[1]))
    except EmbeddedError as error:
        sys.exit(f"images: {error}")


if __name__ == "__main__":
    main()
