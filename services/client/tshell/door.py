"""The API as ``tshell`` uses it, with an exit code for every kind of failure."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from services.client.tshell.memory import UploadMemory
from shared.embedded.state import default_state


class Code(IntEnum):
    """Exit codes of ``tshell``; documented in its help."""

    OK = 0
    JOB_FAILED = 1
    BAD_INPUT = 2
    UNREACHABLE = 3
    REFUSED = 4
    NOT_FOUND = 5


class Stop(Exception):
    """End with this code and text."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Address:
    """Where the API is, and the token it wants."""

    url: str
    token: str = field(default="", repr=False)


def address() -> Address:
    """BAROGRAPH_URL with BAROGRAPH_TOKEN, or the stack that runs on this machine with its own.

    A stack's token goes to that stack alone.
    """
    url, token = os.environ.get("BAROGRAPH_URL", ""), os.environ.get("BAROGRAPH_TOKEN", "")
    if url and token:
        return Address(url.rstrip("/"), token)
    path = default_state().expanduser() / "stack.json"
    try:
        stack = json.loads(path.read_text())
        own = Address(str(stack["client_url"]), str(stack.get("client_token", "")))
    except (OSError, ValueError, KeyError) as error:
        if url:
            return Address(url.rstrip("/"))
        denied = isinstance(error, PermissionError)
        problem = f"{path} belongs to another user: " if denied else ""
        raise Stop(
            Code.UNREACHABLE,
            f"{problem}set BAROGRAPH_URL, or start Barograph here with `barograph up`",
        ) from None
    if url and url.rstrip("/") != own.url:
        return Address(url.rstrip("/"))
    return Address(own.url, token or own.token)


class Door:
    """One connection to the API."""

    def __init__(self, where: Address) -> None:
        headers = {"Authorization": f"Bearer {where.token}"} if where.token else {}
        self._url = where.url
        try:
            self._http = httpx.Client(
                base_url=where.url, headers=headers, timeout=30, trust_env=False
            )
        except (httpx.InvalidURL, ValueError) as error:  # a token beyond ASCII is a ValueError
            text = f"BAROGRAPH_URL and BAROGRAPH_TOKEN are not usable: {error}"
            raise Stop(Code.BAD_INPUT, text) from None

    def close(self) -> None:
        """Give up the connection."""
        self._http.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON answer; Stop for everything else."""
        if "json" in options:
            # In ASCII: an argument of this shell may hold bytes that are no text.
            options["content"] = json.dumps(options.pop("json"))
            options["headers"] = {"Content-Type": "application/json"}
        try:
            answer = self._http.request(method, f"/api/v1{path}", **options)
        except httpx.HTTPError as error:
            raise Stop(Code.UNREACHABLE, f"{self._url} does not answer: {error}") from error
        _check(answer)
        try:
            return answer.json()
        except ValueError:
            raise Stop(Code.UNREACHABLE, f"{self._url} is not Barograph's API") from None

    def text(self, path: str, **options: Any) -> Iterator[str]:
        """The answer piece by piece."""
        try:
            with self._http.stream("GET", f"/api/v1{path}", **options) as answer:
                if answer.is_error:
                    answer.read()
                _check(answer)
                yield from answer.iter_text()
        except httpx.HTTPError as error:
            raise Stop(Code.UNREACHABLE, f"{self._url} does not answer: {error}") from error

    def follow(self, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """``(event, data)`` of the log until ``end``; goes on after a broken connection."""
        position, failures = "0", 0
        while failures < 5:  # noqa: PLR2004 - attempts without any news
            headers = {"Last-Event-ID": position}
            path = f"/api/v1/jobs/{job_id}/logs/follow"
            try:
                with self._http.stream("GET", path, headers=headers, timeout=30) as answer:
                    if answer.is_error:
                        answer.read()
                    _check(answer)
                    for number, event, data in _events(answer.iter_lines()):
                        position, failures = number or position, 0
                        yield event, data
                        if event == "end":
                            return
            except httpx.HTTPError:
                pass  # the loop goes on from the last chunk that came
            failures += 1
        raise Stop(Code.UNREACHABLE, f"{self._url} keeps breaking off")

    def upload(self, path: Path, sha256: str, progress: Callable[[int], None]) -> str:
        """Upload a package, or what is missing of it; returns bucket:key:file."""
        size = path.stat().st_size
        memory = UploadMemory(sha256)
        asked = {"sha256": sha256, "size": size, "upload_id": memory.recall()}
        begun = self.call("POST", "/uploads", json=asked)
        if begun["exists"]:
            progress(size)
            return str(begun["package"])
        memory.keep(begun["upload_id"])
        try:
            with path.open("rb") as file:
                for number, url in enumerate(begun["parts"], 1):
                    part = file.read(begun["part_bytes"])
                    if number not in begun["done"]:
                        sent = httpx.put(url, content=part, timeout=300, trust_env=False)
                        sent.raise_for_status()
                    progress(len(part))
        except httpx.HTTPStatusError as error:
            raise Stop(Code.REFUSED, f"the object store refused a part: {error}") from error
        except httpx.HTTPError as error:
            text = f"upload interrupted, the same command continues it: {error}"
            raise Stop(Code.UNREACHABLE, text) from error
        done = {"sha256": sha256, "upload_id": begun["upload_id"]}
        package = str(self.call("POST", "/uploads/finish", json=done, timeout=3600)["package"])
        memory.forget()
        return package

    def download(self, job_id: str, path: str, target: Path, size: int, sha256: str | None) -> None:
        """Fetch one of a job's files to ``target``, whole or not at all."""
        partial = target.with_name(f".{target.name[:200]}.partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            begun = self._http.get(f"/api/v1/jobs/{job_id}/results/{quote(path)}")
            _check(begun)
            # Another server's: our token is not for it.
            link = begun.headers["location"]
            with httpx.stream("GET", link, timeout=60, trust_env=False) as answer:
                answer.raise_for_status()
                written = _written(answer.iter_raw(), partial)
        except httpx.HTTPStatusError as error:
            raise Stop(Code.REFUSED, f"the object store refused {path}: {error}") from error
        except httpx.HTTPError as error:
            raise Stop(Code.UNREACHABLE, f"{path} was not fetched whole: {error}") from error
        except OSError as error:
            raise Stop(Code.BAD_INPUT, f"{target}: {error.strerror or error}") from error
        if written[0] != size or sha256 not in {None, written[1]}:
            partial.unlink(missing_ok=True)
            raise Stop(Code.REFUSED, f"{path} is not what the job stored")
        partial.replace(target)


def _written(pieces: Iterator[bytes], path: Path) -> tuple[int, str]:
    """Size and SHA-256 of what was written."""
    size, digest = 0, hashlib.sha256()
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    number = event = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            number = value
        elif name == "event":
            event = value
        elif name == "data":
            yield number, event, json.loads(value)


def _check(answer: httpx.Response) -> None:
    if not answer.is_error:
        return
    try:
        faults = answer.json()["faults"]
        text = "\n".join(f"{f['field']}: {f['problem']}".removeprefix(": ") for f in faults)
    except (ValueError, KeyError, TypeError):
        text = f"{answer.status_code} {answer.reason_phrase}"
    codes = {404: Code.NOT_FOUND, 422: Code.BAD_INPUT, 502: Code.UNREACHABLE, 503: Code.UNREACHABLE}
    raise Stop(codes.get(answer.status_code, Code.REFUSED), text)
