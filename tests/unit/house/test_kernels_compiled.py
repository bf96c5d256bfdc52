"""Set-up and the images compile all kernels that a service calls: it compiles nothing more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.remote_write import request_1, request_2

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parents[3]
_HOUR_MS = 3_600_000


@pytest.mark.parametrize("service", ["detector", "predictor"])
def test_a_service_calls_kernels_with_the_types_that_were_compiled_ahead(service: str) -> None:
    program = f"from tests.unit.house.test_kernels_compiled import main; main({service!r})"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    before, after = json.loads(ended.stdout)
    assert len(before) > 10
    assert after == before


def main(service: str) -> None:
    """In a process of its own, where no other test has compiled anything."""
    if service == "detector":
        from services.detector.compiling import compile_kernels

        use = _use_detector
    else:
        from services.predictor.compiling import compile_kernels

        use = _use_predictor
    compile_kernels()
    before = _compiled()
    use()
    json.dump([before, _compiled()], sys.stdout)


def _compiled() -> dict[str, list[str]]:
    """The types that each kernel was compiled for."""
    from numba.core.dispatcher import Dispatcher

    return {
        f"{name}.{kernel}": sorted(map(str, found.signatures))
        for name, module in sorted(sys.modules.items())
        if name.startswith(("services.", "shared."))
        for kernel, found in sorted(vars(module).items())
        if isinstance(found, Dispatcher) and found.signatures
    }


def _use_detector() -> None:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

    from services.detector.engine import Engine
    from services.detector.gateway.otlp import Otlp, parsed
    from services.detector.gateway.remote_write import Message, Receiver
    from services.detector.settings import EngineSettings
    from shared.samples import decode, encode, from_rows

    receiver = Receiver("", lambda host: len(host) % 2)
    series = [({"__name__": "x", "host": f"h{n}"}, [(_HOUR_MS, 1.0)]) for n in range(3000)]
    for body, message in ((request_1(*series), Message.V1), (request_2(*series), Message.V2)):
        # What is unpacked lies in memory of the process's own, and can be written to.
        receiver.read(np.frombuffer(bytearray(body), dtype=np.uint8), message, _HOUR_MS)
    receiver.known.make_room()
    parsed(ExportMetricsServiceRequest().SerializeToString(), Otlp.PROTOBUF)
    engine = Engine(EngineSettings())
    random = np.random.default_rng(3)
    for step in range(200):
        rows = [
            (f"host{n}", item, "", step * 60_000, float(value))
            for n, item in enumerate(("cpu.idle", "df.bytes.used.percent", "load.1min"))
            for value in [random.choice([random.normal(), 50.0, np.nan])]
            if step % (5 + n)
        ]
        engine.process(decode(encode(from_rows(rows, clock_ms=step * 60_000)), trusted=True))
        if step == 100:
            arrays = engine.snapshot()
            engine = Engine(EngineSettings())
            engine.restore(arrays)


def _use_predictor() -> None:
    from services.predictor.engine import Engine
    from services.predictor.settings import EngineSettings
    from shared.contracts.alerts import SeriesRef
    from shared.samples import decode, encode, from_rows

    random = np.random.default_rng(5)
    steps = np.arange(120)
    values = {
        "walk": 80 + random.normal(size=120).cumsum() / 5,
        "flat": np.full(120, 89.0),
        "spikes": np.where(steps % 17, 60.0, 88.0),
        "young": np.where(steps < 90, np.nan, 50 + 1.2 * (steps - 90)),
    }
    engine = Engine(EngineSettings())
    for step in range(120):
        rows = [
            (host, item, "", step * _HOUR_MS, float(known[step]))
            for host, known in values.items()
            for item in ("df.bytes.used.percent", "mem.memused.percent")
            if np.isfinite(known[step])
        ]
        engine.process(decode(encode(from_rows(rows)), trusted=True))
        if step == 60:
            arrays = engine.snapshot()
            engine = Engine(EngineSettings())
            engine.restore(arrays)
    for host in values:
        engine.curve(SeriesRef(host=host, item="df.bytes.used.percent"))
