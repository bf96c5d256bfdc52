"""The servers started for one machine: private, on loopback, and gone afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import boto3
import botocore.config
import botocore.exceptions
import httpx
import pika
import psutil
import pytest
from pika.exceptions import ChannelClosedByBroker

from shared.embedded import broker as broker_module
from shared.embedded.object_store import EmbeddedObjectStore
from shared.embedded.process import EmbeddedError, OwnedProcess
from shared.embedded.stream_coordinator import forgotten_coordinator
from tests.brokers import BrokerUnderTest, PrivateBroker
from tests.conftest import ObjectStoreUnderTest
from tests.small_disk import small_disk
from tests.waiting import eventually


def test_a_confirmed_message_survives_a_restart_of_the_broker(broker: BrokerUnderTest) -> None:
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(broker.url()))) as link:
        channel = link.channel()
        channel.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
        channel.confirm_delivery()
        channel.basic_publish("", "kept", b"still here")

    broker.restart()

    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(broker.url()))) as link:
        assert link.channel().basic_get("kept", auto_ack=True)[2] == b"still here"


def _first(url: str, stream: str) -> bytes | None:
    """A stream's first message; None while it cannot be read."""
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(url))) as link:
        channel = link.channel()
        channel.basic_qos(prefetch_count=1)
        try:
            found = channel.consume(
                stream, arguments={"x-stream-offset": "first"}, inactivity_timeout=60
            )
            return next(found)[2]
        except ChannelClosedByBroker:
            return None


def test_a_stream_survives_a_kill_in_the_first_second_of_its_node(tmp_path: Path) -> None:
    server = PrivateBroker(tmp_path)
    server.start()
    try:
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(server.url()))) as link:
            channel = link.channel()
            channel.queue_declare("run", durable=True, arguments={"x-queue-type": "stream"})
            channel.confirm_delivery()
            channel.basic_publish("", "run", b"still here")
        server.kill9()
        # As if killed before Ra wrote it: half a second after the first stream was declared.
        (names,) = tmp_path.glob("data/*/coordination/*/names.dets")
        names.unlink()
        assert forgotten_coordinator(tmp_path / "data")

        server.start()

        # The coordinator starts each stream anew, which takes it a moment.
        eventually(lambda: _first(server.url(), "run") == b"still here", "the message")
        assert forgotten_coordinator(tmp_path / "data") == ""
    finally:
        server.stop()


def test_there_is_no_guest_and_every_principal_has_a_user(broker: BrokerUnderTest) -> None:
    users = {user["name"] for user in httpx.get(f"{broker.admin_url}/api/users", timeout=60).json()}

    assert "guest" not in users
    assert {"client", "task", "autospec", "detector", "predictor", "healer", "agent"} <= users


def test_a_principal_may_not_touch_queues_that_are_not_its_own(broker: BrokerUnderTest) -> None:
    link = pika.BlockingConnection(pika.URLParameters(broker.url("member")))
    with (
        contextlib.closing(link),
        pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"),
    ):
        link.channel().queue_declare("task.jobs", durable=True)


def test_a_machine_without_rabbitmq_is_told_to_run_the_set_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broker_module, "_SERVER", "lib/not/there")
    with pytest.raises(EmbeddedError, match="make setup"):
        broker_module.find_server(prefixes=("/nowhere",))


def s3_client(store: ObjectStoreUnderTest | EmbeddedObjectStore, secret: str):
    return boto3.client(
        "s3",
        endpoint_url=store.url,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=botocore.config.Config(signature_version="s3v4"),
    )


def test_the_object_store_accepts_its_keys_and_refuses_a_wrong_secret(
    object_store: ObjectStoreUnderTest,
) -> None:
    client = s3_client(object_store, object_store.secret_key)
    client.create_bucket(Bucket="house-test")
    client.put_object(Bucket="house-test", Key="a/b", Body=b"hello")
    assert client.get_object(Bucket="house-test", Key="a/b")["Body"].read() == b"hello"

    with pytest.raises(botocore.exceptions.ClientError, match="SignatureDoesNotMatch"):
        s3_client(object_store, "wrong").list_buckets()


def test_an_almost_full_disk_has_room_for_a_few_objects_in_many_buckets(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "400m") as disk:
        server = EmbeddedObjectStore(disk / "store")
        server.start()
        try:
            client = s3_client(server, server.secret_key)
            for number in range(30):
                client.create_bucket(Bucket=f"bucket-{number}")
                client.put_object(Bucket=f"bucket-{number}", Key="key", Body=b"x")
        finally:
            server.stop()


def test_a_directory_too_long_for_a_socket_is_named_before_anything_starts(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-long-name"] * 9)

    with pytest.raises(EmbeddedError, match=r"is \d+ bytes too long"):
        EmbeddedObjectStore(deep).start()

    assert not deep.exists()


def test_a_child_and_its_children_die_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from shared.embedded.process import OwnedProcess
        child = OwnedProcess(["/bin/sh", "-c", "sleep 600 & sleep 600"], log=Path(sys.argv[1]))
        print(child.pid, flush=True)
        time.sleep(600)
        """
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "log"], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    group = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()

    eventually(lambda: not _living_members(group), "nobody of the group lives")


def test_stopping_a_child_kills_what_ignores_the_request(tmp_path: Path) -> None:
    child = OwnedProcess(["/bin/sh", "-c", "trap '' TERM; sleep 600"], log=tmp_path / "log")

    child.stop(timeout_s=0.2)

    assert child.exit_code is not None
    eventually(lambda: not _living_members(child.pid), "nobody of the group lives")


def _living_members(group: int) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and _group_of(process.pid) == group
    ]


def _group_of(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(pid)
    return None
