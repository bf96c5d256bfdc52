"""Packages, job files, matchers, recurrence rules and alerts, as people and programs send them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from services.healer.incidents.alert_bodies import readable, readable_webhook
from services.healer.incidents.alertmanager_alerts import understood
from services.healer.notify.matchers import Matchers
from services.healer.notify.silences import Recurrence
from shared.contracts import AlertChanged
from shared.messaging.limits import MAX_KEY_BYTES
from shared.packages import Bounds, PackageRefused, check, unpack
from shared.tfjob import NotImportableError, import_tfjob
from tests.hostile.archives import file, special
from tests.hostile.fuzz.door import Door, ViolationError, drawn
from tests.hostile.fuzz.mutation import Parts
from tests.hostile.test_alerts_from_outside import alerts, said_of
from tests.hostile.test_any_job_file import BAD, GOOD, PATHS, PS_JOB, VALUES, YAMLISH, changed
from tests.hostile.test_foreign_webhooks import BODIES
from tests.hostile.test_matchers import SLOW
from tests.hostile.test_packages import _KINDS, _PATHS, _TARGETS, _links_lead_out
from tests.unit.client.test_tfjob import submit
from tests.unit.healer.test_recurrence import FIRST, rules

_NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_MATCHERS: TypeAdapter[Matchers] = TypeAdapter(Matchers)
_LABELS = {"item": "DiskFull", "host": "a" * 2_000 + "!", "path": 'C:\\"x"'}


def _archives(seed: int, count: int) -> list[Parts]:
    """Tar files, which are compressed when they are tried, and some that are compressed now."""
    found: list[Parts] = []
    members = st.lists(st.tuples(_PATHS, _KINDS, _TARGETS), max_size=8)
    for number, entries in enumerate(drawn(members, seed, count)):
        written = io.BytesIO()
        kind = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)[number % 3]
        with tarfile.open(fileobj=written, mode="w", format=kind) as tar:
            for name, what, target in [("p/code/main.py", tarfile.REGTYPE, ""), *entries]:
                info, data = file(name) if what == tarfile.REGTYPE else special(name, what, target)
                try:
                    tar.addfile(info, io.BytesIO(data))
                except ValueError:
                    continue  # a name that this format cannot hold
        raw = written.getvalue()
        found.append((b"gz", gzip.compress(raw, 1)) if number % 5 == 0 else (b"tar", raw))
    return found


def _archive(parts: Parts) -> str:
    kind, data = parts
    bounds = Bounds()
    with tempfile.TemporaryDirectory(prefix="barograph-fuzz-") as name:
        path = Path(name) / "p.tar.gz"
        path.write_bytes(data if kind == b"gz" else gzip.compress(data, 1))
        # Only what a package needs beyond what is safe to unpack is begun so.
        refused = [
            each for each in check(path, bounds=bounds) if not each.startswith("the package")
        ]
        out = Path(name) / "in/out"
        ended = "unpacked"
        try:
            unpack(path, out, bounds)
        except PackageRefused:
            ended = "refused"
            if out.exists():
                raise ViolationError("a refused package left something") from None
        else:
            if refused:
                raise ViolationError(f"unpacked although {refused}")
            if _links_lead_out(out):
                raise ViolationError("a link leads out")
        if {each.name for each in Path(name).iterdir()} - {"in", "p.tar.gz"}:
            raise ViolationError("something was unpacked outside")
    return ended


def _job_files(seed: int, count: int) -> list[Parts]:
    places = drawn(st.tuples(PATHS, VALUES), seed, count)
    documents = [changed(yaml.safe_load(PS_JOB), path, value) for path, value in places]
    written = [yaml.safe_dump(each, allow_unicode=True).encode() for each in documents]
    texts = drawn(YAMLISH, seed, count // 2)
    small = [each for each in (*BAD.values(), *GOOD.values()) if len(each) < 50_000]
    return [(each,) for each in (*written, *small, *(t.encode() for t in texts))]


def _job_file(parts: Parts) -> str:
    for own_code in (False, True):
        try:
            submit(import_tfjob(parts[0], own_code=own_code))
        except NotImportableError as refused:
            if not refused.faults:
                raise ViolationError("refused without a reason") from refused
        except ValidationError:
            pass  # the contract names each field
        else:
            return "answered"
    return "refused"


_EXPRESSIONS = [f'host=~"{each}"' for each in SLOW]
_matchers = st.text(max_size=40).flatmap(
    lambda text: st.sampled_from(
        [text, f'item="{text}"', f'host=~"{text}"', f"path!~{text}", *_EXPRESSIONS]
    )
)


def _matcher(parts: Parts) -> str:
    text = parts[0].decode("utf-8", "surrogateescape")
    try:
        (found,) = _MATCHERS.validate_python([text])
    except ValidationError:
        return "refused"
    found.matches(_LABELS)
    if _MATCHERS.validate_python([found.text()]) != (found,):
        raise ViolationError(f"{found.text()!r} is not read as it was written")
    return "answered"


def _recurrences(seed: int, count: int) -> list[Parts]:
    return [(rule.encode(),) for rule in drawn(rules(), seed, count)]


def _recurrence(parts: Parts) -> str:
    rule = parts[0].decode("utf-8", "surrogateescape")
    given = {"rule": rule, "first": FIRST, "timezone": "Europe/Berlin", "duration_s": 3_600}
    try:
        found = Recurrence.model_validate(given)
    except ValidationError:
        return "refused"
    found.open_at(_NOW)
    if len(list(found.between(_NOW, _NOW + timedelta(days=4_000), 100))) > 100:
        raise ViolationError("more windows than asked for")
    return "answered"


def _alerts(seed: int, count: int) -> list[Parts]:
    found = drawn(st.lists(alerts, max_size=3), seed, count)
    return [(json.dumps(each).encode(),) for each in found]


def _alert(parts: Parts) -> str:
    try:
        body = json.loads(parts[0])
    except (ValueError, RecursionError):
        return "refused"  # no JSON: the HTTP door answers it
    if not isinstance(body, list):
        return "refused"
    found, faults = readable(body)
    if len(found) + len({fault.field.split(".")[0] for fault in faults}) != len(body):
        raise ViolationError("an alert is neither taken nor named")
    for alert in found:
        outside = understood(alert, _NOW, timedelta(minutes=5))
        _carried(said_of(outside))
    return "answered" if not faults else "answered in part"


def _webhooks(seed: int, count: int) -> list[Parts]:
    """Webhooks of other monitors as they are documented, and Alertmanager's own."""
    own = drawn(st.lists(alerts, max_size=3), seed, count // 2)
    foreign = [body for begins, ends, *_ in BODIES for body in (begins, ends)]
    alertmanager = [{"version": "4", "status": "firing", "alerts": each} for each in own]
    return [(json.dumps(each).encode(),) for each in (*foreign, *alertmanager)]


def _webhook(parts: Parts) -> str:
    try:
        body = json.loads(parts[0])
    except (ValueError, RecursionError):
        return "refused"  # no JSON: the HTTP door answers it
    found, faults = readable_webhook(body, _NOW)
    empty = isinstance(body, dict) and body.get("alerts", "none") in ([], None)
    if not (found or faults or empty):
        raise ViolationError("a webhook is neither taken nor named")
    for alert in found:
        _carried(said_of(understood(alert, _NOW, None)))
    return "refused" if not found else "answered in part" if faults else "answered"


def _carried(said: AlertChanged) -> None:
    if AlertChanged.model_validate_json(said.model_dump_json()) != said:
        raise ViolationError("not the same after a journey")
    if len(said.routing_key().encode()) > MAX_KEY_BYTES:
        raise ViolationError("its routing key is too long")


DOORS = {
    "webhooks": lambda: Door("webhooks", _webhooks, _webhook),
    "archives": lambda: Door("archives", _archives, _archive, frozenset({0})),
    "job-files": lambda: Door("job-files", _job_files, _job_file),
    "matchers": lambda: Door(
        "matchers",
        lambda seed, count: [
            (t.encode("utf-8", "surrogatepass"),) for t in drawn(_matchers, seed, count)
        ],
        _matcher,
    ),
    "recurrence-rules": lambda: Door("recurrence-rules", _recurrences, _recurrence),
    "alerts": lambda: Door("alerts", _alerts, _alert),
}
