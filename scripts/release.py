"""Builds the parts of a release without publishing them: ``python scripts/release.py OUT``.

OUT gets the packaged chart, ``images.txt`` (every image an installation may run, for registries of
clusters without a way out), an SBOM (CycloneDX) for each image of ours, ``provenance.json`` (an
in-toto statement: what was made of which commit) and ``SHA256SUMS``. What publishes and signs it is
printed. helm and git must be on PATH.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts/barograph"
OURS = ("client", "task", "autospec", "detector", "predictor", "healer", "agent")
_IMAGE = re.compile(r"^\s*(?:- )?image: \"?([^\s\"]+)\"?$", re.MULTILINE)
_OWN = re.compile(f"barograph-({'|'.join(OURS)})[:@]")
# The chart renders only with these values; the quickstart's servers are in it.
_EVALUATION = ("--set", "quickstart.enabled=true", "--kube-version", "1.34.0")
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "https://barograph.invalid/release/v1"


class ReleaseError(Exception):
    """The release cannot be made; the text says why."""


def release(out: Path, helm: str = "helm") -> list[str]:
    """Fill the empty directory ``out``; the commands that would publish it, for people.

    Raises:
        ReleaseError: when a program that is needed fails, or ``out`` holds something.
    """
    if out.exists() and any(out.iterdir()):
        raise ReleaseError(f"{out} is not empty")
    out.mkdir(parents=True, exist_ok=True)
    _run(helm, "package", str(CHART), "--destination", str(out))
    (package,) = out.glob("barograph-*.tgz")
    names = images(helm)
    (out / "images.txt").write_text("".join(f"{name}\n" for name in names))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda each: _sbom(each, out / f"sbom-{each}.cdx.json"), OURS))
    made = sorted(path for path in out.iterdir() if path.is_file())
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made}
    statement = provenance(digests)
    (out / "provenance.json").write_text(json.dumps(statement, indent=2) + "\n")
    digests["provenance.json"] = hashlib.sha256((out / "provenance.json").read_bytes()).hexdigest()
    lines = (f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    (out / "SHA256SUMS").write_text("".join(lines))
    return publishing(out, package.name, names)


def images(helm: str = "helm") -> list[str]:
    """Every image that an installation may run: ours, the quickstart's, and programs' default."""
    text = _run(helm, "template", "barograph", str(CHART), *_EVALUATION)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    return sorted({*_IMAGE.findall(text), values["jobs"]["programImage"]})


def provenance(digests: dict[str, str]) -> dict[str, Any]:
    """An in-toto statement (SLSA provenance 1) that these files were made of this commit."""
    commit = _run("git", "-C", str(ROOT), "rev-parse", "HEAD").strip()
    changed = bool(_run("git", "-C", str(ROOT), "status", "--porcelain").strip())
    return {
        "_type": _STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": digest}} for name, digest in digests.items()
        ],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {"chart": "charts/barograph", "workTreeChanged": changed},
                "resolvedDependencies": [{"digest": {"gitCommit": commit}}],
            },
            "runDetails": {"builder": {"id": f"{_BUILD_TYPE}#scripts/release.py"}},
        },
    }


def publishing(out: Path, package: str, names: list[str]) -> list[str]:
    """The commands, with variables for what only the publisher knows; nobody runs them here."""
    here = shlex.quote(str(out))
    ours = [name for name in names if _OWN.search(name)]
    return [
        f"helm push {here}/{package} oci://$REGISTRY/charts",
        *(f"docker tag {name} $REGISTRY/{name} && docker push $REGISTRY/{name}" for name in ours),
        "cosign sign --yes $REGISTRY/charts/barograph@$CHART_DIGEST",
        *(
            f"cosign attest --yes --type cyclonedx --predicate {here}/sbom-{service}.cdx.json"
            f" $REGISTRY/barograph-{service}@$DIGEST"
            for service in OURS
        ),
        f"cosign sign-blob --yes --bundle {here}/SHA256SUMS.bundle {here}/SHA256SUMS",
    ]


def _sbom(service: str, path: Path) -> None:
    """The SBOM of the packages that the service's image installs, each with its hashes."""
    program = Path(sys.executable).with_name("cyclonedx-py")
    options = ("--output-format", "JSON", "--output-reproducible", "--output-file", str(path))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lock:
        lock.write("\n".join(_locked(service)))
        lock.flush()
        _run(str(program), "requirements", *options, lock.name)


def _locked(service: str) -> Iterable[str]:
    """Each package once, with its hashes, as the Dockerfile has them installed."""
    names = [service] if service == "agent" else [service, "traces"]
    found: dict[str, str] = {}
    for name in names:
        lock = (ROOT / f"requirements/{name}.txt").read_text()
        for block in re.findall(r"^\S[^\n]*==(?:[^\n]*\\\n)*[^\n]*$", lock, re.MULTILINE):
            found.setdefault(re.split(r"==|\[", block)[0], block)
    return found.values()


def _run(*command: str) -> str:
    found = shutil.which(command[0])
    if found is None:
        raise ReleaseError(f"{command[0]} is needed and not here")
    done = subprocess.run(
        [found, *command[1:]], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise ReleaseError(f"{' '.join(command[:2])}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def main() -> int:
    """Exit status: 0, or 1 with a sentence."""
    match sys.argv[1:]:
        case [directory]:
            out = Path(directory)
        case _:
            print("usage: python scripts/release.py OUT", file=sys.stderr)
            return 2
    try:
        commands = release(out)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(f"{out} holds the release; nothing was published. To publish it:\n")
    print("\n".join(commands))
    return 0


if __name__ == "__main__":
    sys.exit(main())
