"""The consumers that are compared: each handles ``count`` no-op messages at least once.

Run as ``python -m bench.contenders NAME URL COUNT``: fills its own queue first, then prints the
seconds between the first and the last handled message, and those of CPU that the process used
meanwhile. Every message carries the same JSON body
and every consumer parses it; acks follow the handling.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pika

from shared import topology
from shared.contracts import JobCancel
from shared.service import Service
from shared.settings import ServiceSettings

RESULT = "seconds and seconds of CPU="
"""The mark before the figures, as libraries print lines of their own."""
ON_POSTGRESQL = "barograph_on_postgresql"
"""Two replicas on PostgreSQL, of which one leads."""
Spent = tuple[float, float]
_QUEUE = "bench"
_PREFETCH = 500
_ACK_EVERY = 50
_TIMEOUT_S = 120.0
BODY = JobCancel(job_id="bench-1", reason="measured").model_dump_json().encode()


class Clock:
    """Counts messages; knows when the first and the last came."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._first = self._cpu = 0.0
        self._lock = threading.Lock()
        self.spent = (0.0, 0.0)
        """Seconds, and seconds of CPU, from the first message to the last."""
        self.done = threading.Event()

    def tick(self) -> None:
        with self._lock:
            if not self._first:
                self._first, self._cpu = time.perf_counter(), time.process_time()
            self._left -= 1
            if self._left == 0:
                passed = time.perf_counter() - self._first
                self.spent = (passed, time.process_time() - self._cpu)
                self.done.set()

    def wait(self) -> None:
        if not self.done.wait(_TIMEOUT_S):
            raise TimeoutError(f"{self._left} messages left after {_TIMEOUT_S:.0f} s")


def fill(url: str, queue: str, count: int, declare: Callable[[Any], None]) -> None:
    """Put ``count`` messages into an empty ``queue``."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    declare(channel)
    channel.queue_purge(queue)
    properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
    for number in range(count):
        properties.message_id = f"bench-{number}"
        properties.headers = {"cloudEvents_type": "barograph.job.cancel.v1"}
        channel.basic_publish("", queue, BODY, properties)
    while channel.queue_declare(queue, passive=True).method.message_count < count:
        time.sleep(0.05)
    connection.close()


def _declare_quorum(channel: Any) -> None:
    channel.queue_declare(_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})


def raw_pika(url: str, count: int, ack_every: int) -> Spent:
    """Measure nothing but pika, which consumes, and pydantic, which parses."""
    fill(url, _QUEUE, count, _declare_quorum)
    clock = Clock(count)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=_PREFETCH)
    pending = 0

    def on_message(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        nonlocal pending
        JobCancel.model_validate_json(body)
        clock.tick()
        pending += 1
        if pending >= ack_every or clock.done.is_set():
            channel.basic_ack(method.delivery_tag, multiple=True)
            pending = 0
        if clock.done.is_set():
            channel.stop_consuming()

    channel.basic_consume(_QUEUE, on_message)
    channel.start_consuming()
    connection.close()
    return clock.spent


def runner(url: str, count: int, store_url: str = "", replicas: int = 1) -> Spent:
    """Our service runner, with a store (inbox, exactly one effect) if there is a ``store_url``.

    Of several replicas the first leads, and the others stand by, in this process as well.
    """
    from shared.store import opened

    (work, *_rest) = topology.work_queues(topology.Principal.TASK)

    def declare(channel: Any) -> None:
        for queue in topology.work_queues(topology.Principal.TASK):
            channel.queue_declare(queue.name, durable=True, arguments=queue.arguments)

    fill(url, work.name, count, declare)
    clock = Clock(count)

    def handle(_message: JobCancel, _context: object) -> tuple[()]:
        clock.tick()
        return ()

    services = []
    for number in range(replicas):
        settings = ServiceSettings(broker_url=url, log_level="WARNING", instance=str(number))  # type: ignore[arg-type] # pydantic parses it
        store = opened(store_url) if store_url else None
        handlers = {JobCancel: handle}
        service = Service("task", settings, handlers=handlers, store=store, elected=replicas > 1)
        service.start()
        services.append(service)
    clock.wait()
    for service in reversed(services):
        service.stop()
    return clock.spent


def dramatiq(url: str, count: int) -> Spent:
    """Dramatiq with its RabbitMQ broker and eight worker threads, its default."""
    import dramatiq as library
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    broker = RabbitmqBroker(url=url)
    library.set_broker(broker)
    clock = Clock(count)

    @library.actor(queue_name="bench-dramatiq", max_retries=0)
    def handle(body: str) -> None:
        JobCancel.model_validate_json(body)
        clock.tick()

    broker.declare_queue("bench-dramatiq", ensure=True)
    broker.flush("bench-dramatiq")
    for _ in range(count):
        handle.send(BODY.decode())
    worker = library.Worker(broker, worker_threads=8)
    worker.start()
    clock.wait()
    worker.stop()
    broker.close()
    return clock.spent


def celery(url: str, count: int) -> Spent:
    """Celery, one process (solo), late acks, prefetch as ours."""
    from celery import Celery

    app = Celery("bench", broker=url)
    app.conf.update(
        task_acks_late=True,
        worker_prefetch_multiplier=_PREFETCH,
        task_ignore_result=True,
        task_default_queue="bench-celery",
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
    )
    clock = Clock(count)

    @app.task
    def handle(body: str) -> None:
        JobCancel.model_validate_json(body)
        clock.tick()
        if clock.done.is_set():
            print(f"{RESULT}{clock.spent[0]} {clock.spent[1]}", flush=True)
            # Its worker has no stop that can be called from here.
            os._exit(0)

    app.control.purge()
    for _ in range(count):
        handle.delay(BODY.decode())
    app.worker_main(
        ["worker", "--pool=solo", "--loglevel=ERROR", "--without-gossip", "--without-mingle"]
    )
    raise TimeoutError("the worker ended early")


def faststream(url: str, count: int) -> Spent:
    """FastStream, prefetch as ours."""
    from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

    clock = Clock(count)

    async def run() -> None:
        broker = RabbitBroker(url, default_channel=Channel(prefetch_count=_PREFETCH), logger=None)
        queue = RabbitQueue("bench-faststream", durable=True)
        finished = asyncio.Event()

        @broker.subscriber(queue)
        async def handle(message: JobCancel) -> None:  # noqa: ARG001 - its type is what it parses
            clock.tick()
            if clock.done.is_set():
                finished.set()

        await broker.connect()
        await broker.declare_queue(queue)
        for _ in range(count):
            await broker.publish(BODY, queue=queue, content_type="application/json")
        await broker.start()
        await asyncio.wait_for(finished.wait(), _TIMEOUT_S)
        await broker.stop()

    asyncio.run(run())
    return clock.spent


CONTENDERS: dict[str, Callable[[str, int], Spent]] = {
    "barograph": runner,
    "pika_ack_each": lambda url, count: raw_pika(url, count, 1),
    "pika_ack_50": lambda url, count: raw_pika(url, count, _ACK_EVERY),
    "dramatiq": dramatiq,
    "celery": celery,
    "faststream": faststream,
    "barograph_with_store": lambda url, count: runner(url, count, os.environ["BENCH_STORE_URL"]),
    ON_POSTGRESQL: lambda url, count: runner(url, count, os.environ["BENCH_STORE_URL"], 2),
}

if __name__ == "__main__":
    chosen, broker_url, messages = sys.argv[1:]
    seconds, cpu_s = CONTENDERS[chosen](broker_url, int(messages))
    print(f"{RESULT}{seconds} {cpu_s}", flush=True)
