"""A release, made whole and published nowhere."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts import release
from tests.chart.helm import find_helm
from tests.chart.rendering import CHART

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("release") / "out"
    return out, release.release(out, str(find_helm()))


def test_every_file_is_in_the_sums_and_the_provenance_names_each_with_its_commit(
    made: tuple[Path, list[str]],
) -> None:
    out, _ = made
    sums = dict(line.split()[::-1] for line in (out / "SHA256SUMS").read_text().splitlines())
    files = {path.name for path in out.iterdir()} - {"SHA256SUMS"}
    assert {*sums} == files
    assert all(
        hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
        for name, digest in sums.items()
    )
    statement = json.loads((out / "provenance.json").read_text())
    assert {each["name"] for each in statement["subject"]} == files - {"provenance.json"}
    (source,) = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert re.fullmatch(r"[0-9a-f]{40}", source["digest"]["gitCommit"])


def test_the_packaged_chart_is_the_chart(made: tuple[Path, list[str]]) -> None:
    out, _ = made
    (package,) = out.glob("*.tgz")
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert package.name == f"barograph-{version}.tgz"
    with tarfile.open(package) as tar:
        names = {name.removeprefix("barograph/") for name in tar.getnames()}
    templates = {str(p.relative_to(CHART)) for p in CHART.glob("templates/**/*") if p.is_file()}
    assert templates <= names


def test_each_image_has_an_sbom_of_what_is_locked_for_it(made: tuple[Path, list[str]]) -> None:
    out, _ = made
    for service in release.OURS:
        text = (out / f"sbom-{service}.cdx.json").read_text()
        found = json.loads(text)
        version = SchemaVersion.from_version(found["specVersion"])
        assert JsonStrictValidator(version).validate_str(text) is None
        parts = {each["name"] for each in found["components"]}
        names = [service] if service == "agent" else [service, "traces"]
        lock = "\n".join((ROOT / f"requirements/{name}.txt").read_text() for name in names)
        assert parts == {*re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==", lock, re.MULTILINE)}
        assert len(parts) == len(found["components"])
        assert all(each["externalReferences"][0]["hashes"] for each in found["components"])


def test_the_list_of_images_is_whole_and_every_command_names_what_was_made(
    made: tuple[Path, list[str]],
) -> None:
    out, commands = made
    names = (out / "images.txt").read_text().splitlines()
    ours = [name for name in names if name.startswith("barograph-")]
    assert {name.partition(":")[0].removeprefix("barograph-") for name in ours} == {*release.OURS}
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    listed = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert {*names} - {*ours} == {each["image"] for each in listed}
    for command in commands:
        for path in re.findall(rf"{re.escape(str(out))}/(\S+)", command):
            assert (out / path).exists() or path == "SHA256SUMS.bundle"


def test_a_directory_with_something_in_it_and_a_missing_program_are_named(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(release.ReleaseError, match="not empty"):
        release.release(tmp_path)
    assert shutil.which("no-such-helm") is None
    with pytest.raises(release.ReleaseError, match="no-such-helm is needed"):
        release.release(tmp_path / "out", "no-such-helm")
