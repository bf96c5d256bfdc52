"""Frames that are written together leave in few pieces, and each of them once and in order."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shared.messaging.gathering import GatheringConnection
from shared.messaging.link import Link


class Wire:
    """Keeps what is given to the operating system, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        if data == b"lost":
            raise ConnectionError
        self.pieces.append(data)


@pytest.fixture
def connection() -> GatheringConnection:
    made = GatheringConnection.__new__(GatheringConnection)  # without a server
    made._transport = Wire()
    made.bytes_sent = made.frames_sent = 0
    return made


def test_frames_outside_of_a_block_are_sent_at_once(connection: GatheringConnection) -> None:
    connection._output_marshaled_frames([b"1", b"2"])
    assert connection._transport.pieces == [b"1", b"2"]


def test_frames_of_a_block_are_one_piece(connection: GatheringConnection) -> None:
    with connection.together():
        connection._output_marshaled_frames([b"1", b"2", b"3"])
        with connection.together():
            connection._output_marshaled_frames([b"4"])
        connection._output_marshaled_frames([b"5"])
        assert connection._transport.pieces == []
    connection._output_marshaled_frames([b"6"])
    assert connection._transport.pieces == [b"12345", b"6"]


def test_frames_before_a_failure_are_sent(connection: GatheringConnection) -> None:
    def fail() -> None:
        with connection.together():
            connection._output_marshaled_frames([b"1", b"2"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert connection._transport.pieces == [b"12"]


def test_a_failed_write_does_not_keep_later_frames_back(connection: GatheringConnection) -> None:
    with pytest.raises(ConnectionError), connection.together():
        connection._output_marshaled_frames([b"lost"])
    connection._output_marshaled_frames([b"1"])
    assert connection._transport.pieces == [b"1"]


def test_much_is_sent_in_pieces_of_a_bounded_size(connection: GatheringConnection) -> None:
    frames = [bytes([number]) * 10_000 for number in range(100)]
    with connection.together():
        connection._output_marshaled_frames(frames)
        assert connection._transport.pieces
    assert b"".join(connection._transport.pieces) == b"".join(frames)
    assert max(map(len, connection._transport.pieces)) < 80_000


def test_what_other_threads_ask_of_a_link_is_sent_in_one_piece(
    connection: GatheringConnection,
) -> None:
    link = Link("amqp://u:p@localhost/v", "test")
    loop = SimpleNamespace(add_callback_threadsafe=lambda _function: None)
    connection._nbio = SimpleNamespace(get_native_ioloop=lambda: loop)
    link._connection = connection
    for frame in (b"1", b"2", b"3"):
        link.call(lambda frame=frame: connection._output_marshaled_frames([frame]))
    link._run_calls()
    assert connection._transport.pieces == [b"123"]
