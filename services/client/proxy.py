"""A trusted proxy that authenticates people and names them in a header."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import structlog
from starlette.datastructures import Headers

from services.client.groups import Person, is_readable
from services.client.settings import ClientSettings

log = structlog.get_logger(__name__)
_MAX_NAMED = 1_000
_LONGEST_GROUPS = 16_384


class AmbiguousHeaderError(Exception):
    """The proxy did not remove its client's header, or the header is invalid."""


class TrustedProxy:
    """Trusts the header only from the configured addresses."""

    def __init__(self, settings: ClientSettings) -> None:
        self._networks = networks(settings.proxy_addresses)
        self._user, self._groups = settings.proxy_user_header, settings.proxy_groups_header
        self._warned: OrderedDict[str, None] = OrderedDict()

    def person(self, peer: str, headers: Headers) -> Person | None:
        """The person named by the proxy; None if no proxy is trusted, or it names nobody.

        Raises:
            AmbiguousHeaderError: when it is not certain that the proxy itself wrote the header.
        """
        users = headers.getlist(self._user) if self._networks else []
        if not users:
            return None
        if not self._trusts(peer):
            self._warn(peer)
            return None
        groups = headers.getlist(self._groups)
        if len(users) > 1 or len(groups) > 1:
            text = f"{self._user} or {self._groups} came twice: the proxy must remove its clients'"
            raise AmbiguousHeaderError(text)
        name = users[0].strip()
        if not is_readable(name):
            raise AmbiguousHeaderError(f"{self._user} gives no usable name")
        listed = groups[0][:_LONGEST_GROUPS].split(",") if groups else []
        return Person(name, tuple(each.strip() for each in listed if each.strip()))

    def _trusts(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def _warn(self, peer: str) -> None:
        """Warn once for each address, so that nobody fills the log."""
        if peer in self._warned:
            return
        self._warned[peer] = None
        if len(self._warned) > _MAX_NAMED:
            self._warned.popitem(last=False)
        log.warning("proxy_header_ignored", address=peer, header=self._user)


def networks(listed: str) -> list[IPv4Network | IPv6Network]:
    """The addresses and networks in a list with commas.

    Raises:
        ValueError: naming what is neither.
    """
    return [ip_network(each.strip()) for each in listed.split(",") if each.strip()]
