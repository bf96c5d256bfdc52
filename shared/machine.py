"""Names of machines: one canonical name for each, whatever the source.

Exporters, alert rules, agents and people write the same machine in many ways: with the scrape
port, as a URL, with IPv6 in brackets, fully qualified with a final dot, in capitals. Every door
asks this module, so that metrics, alerts, evidence and commands meet under one name.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

UNKNOWN = "unknown"
"""The machine of what names none: a recording rule's series, an alert about a service."""

OTHER_LABELS = (
    *("node", "nodename", "hostname", "host.name", "host_name", "k8s.node.name", "k8s_node_name"),
    *("Hostname", "Host"),
)
"""Labels that name a machine where neither ``instance`` nor ``host`` does: of Kubernetes, of
recording rules, of OpenTelemetry, of NVIDIA's exporter."""

MAX_LENGTH = 253
"""Characters of a name, as in DNS."""
PATTERN = r"^([A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?|[0-9A-Fa-f:]*::[0-9A-Fa-f:]*)$"
"""The form of every machine's name: DNS' characters and underscores, or an address."""

_MAX_READ = 1024
"""The number of characters of a text that are examined."""
_MAX_PORTS = 4
"""The number of ports that are removed from one text."""
_MAX_FOREIGN = 100
"""Characters of a name outside ASCII: what makes DNS' form of it is slow."""
_SLUG_LENGTH = 180
_NAME = re.compile(PATTERN)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)+//|//")
"""The scheme of a URL; ``jdbc:mysql://`` is one, too."""
_DATABASE = re.compile(r"(?:.*@)?(?:tcp|udp)?[46]?\(([^()]+)\)(?:/.*)?")
"""A MySQL exporter's ``user:password@tcp(host:port)/name``."""
_PASSWORD = re.compile(r"[^\s/@:]*:[^\s/@]*@")
_SETTING = re.compile(
    r"(?:^|[;\s])\s*(?:host|hostaddr|server|data source|address)\s*=\s*(?:tcp:)?([^;,\s]+)",
    re.IGNORECASE,
)
"""The host among the settings of a connection string, as of PostgreSQL or SQL Server."""
_SECRET = re.compile(r"(?:password|passwd|pwd|secret|token)\s*=[^;\s]*", re.IGNORECASE)
_ORACLE = re.compile(
    r"(?:jdbc:)?oracle:[a-z0-9]+:[^@]*@(?://)?(\[[^\[\]]*\]|[^:/]+)(?:[:/].*)?", re.IGNORECASE
)
_PATH = re.compile(r"[/?#]")
_END_OF_HOST = re.compile(r"[/?#;]")
"""The end of a URL's host; ``jdbc:sqlserver://db7;user=…`` has settings behind a semicolon."""
_OF_A_PATH = re.compile(
    r"(?!localhost/)[^/?#.:]+(?:/+[^/?#]+)+|"
    r"/(?!(?:var|run|tmp|dev|etc|proc|sys|opt|usr|home|srv|mnt)/)[^/?#]+(?:/+[^/?#]+)*"
)
"""As in namespace/pod, or a cloud's /subscriptions/…/vm1: each part tells machines apart. A file
of a machine tells nothing."""
_NOBODY = {"none", "null", "nil", "undefined", "unknown"}
"""The words that programs write where they know no name."""
_OF_ITSELF = {"localhost", "localhost.localdomain", "host.docker.internal"}
"""Names by which every machine calls itself."""
_WILDCARD = re.compile(r"[*?\[]")
_PORT = re.compile(r"[0-9]{1,5}")
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::[0-9]{0,5})?")
_HARDWARE_ADDRESS = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_SHARE = re.compile(r"\\\\([^\\]+)(?:\\.*)?|([^\\/:\s]+)\\[^\\]*")
r"""Windows' ``\\server\share``, and SQL Server's ``server\instance``."""
_TARGET = re.compile(r":[0-9]{1,5}(/|$)|://")
"""The signs of an ``instance`` that is the address of something scraped."""
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9_.:-]+")


@lru_cache(100_000)
def machine_of(text: str) -> str | None:
    r"""The machine that ``text`` names, or None where it is no name of a machine.

    >>> machine_of("web1.example.com.:9100"), machine_of("https://user@WEB1:8443/health?x=1")
    ('web1.example.com', 'web1')
    >>> machine_of("[2001:db8::17]:9100"), machine_of("2001:DB8:0::17"), machine_of("fe80::1%eth0")
    ('2001:db8::17', '2001:db8::17', 'fe80::1')
    >>> machine_of("büro-pc:9100"), machine_of("localhost:"), machine_of("*"), machine_of(":9100")
    ('xn--bro-pc-3ya', 'localhost', None, None)
    >>> machine_of("host=db7 port=5432 password=x"), machine_of("web1\uff1a9100")
    ('db7', 'web1')
    """
    host = _host_in(text)
    return _address(host) or _name(host)


def machine_for(*texts: str) -> str:
    """The first of ``texts`` that names a machine; a made-up name where none does.

    A text that is no name of a machine still tells things apart, so the made-up name keeps what
    can be kept of it and ends with its hash. Without a letter or digit it is ``unknown``.

    >>> machine_for("%", "db1:9104"), machine_for("*"), machine_for("Rack 7 (left)")
    ('db1', 'unknown', 'rack-7-left-d8d6b4ea')
    """
    for text in texts:
        found = machine_of(text)
        if found is not None:
            return found
    return next(
        (_made_up(text) for text in texts if any(map(str.isalnum, _host_in(text)))), UNKNOWN
    )


def known_machine(text: str) -> str | None:
    """Return what ``machine_of`` does; None, too, for a word that says that no name is known.

    >>> known_machine("null"), known_machine("db1")
    (None, 'db1')
    """
    return None if text.strip().lower() in _NOBODY else machine_of(text)


def is_machine(text: str) -> bool:
    """Return whether ``text`` identifies a machine, well written or not."""
    return machine_of(text) is not None or any(map(str.isalnum, _host_in(text)))


def machine_pattern(pattern: str) -> str:
    """A shell's pattern of machines, written as their names are; of one name, that name.

    >>> machine_pattern("DB7:9100"), machine_pattern("DB-*:9100"), machine_pattern("*")
    ('db7', 'db-*', '*')
    """
    if not _WILDCARD.search(pattern) or _address(_host_in(pattern)):
        return machine_for(pattern) if is_machine(pattern) else pattern
    host, colon, port = pattern.lower().rpartition(":")
    # More colons are those of an address, whose last group may look like a port.
    whole = not (colon and ":" not in host and _PORT.fullmatch(port))
    return (pattern.lower() if whole else host).rstrip(".") or pattern


def is_scraped(labels: Mapping[str, str]) -> bool:
    """Return whether labels have an ``instance`` that is the address of a target."""
    instance = labels.get("instance", "")
    return bool(instance) and ("job" in labels or is_target(instance))


def is_target(text: str) -> bool:
    """Return whether ``text`` is the address of a listener: it has a port or a scheme."""
    return _TARGET.search(text) is not None


def is_loopback(machine: str) -> bool:
    """Return whether a name means "this machine" (localhost, e.g.), so that all machines have it.

    >>> is_loopback("localhost"), is_loopback("127.0.1.1"), is_loopback("10.0.0.1")
    (True, True, False)
    """
    if machine in _OF_ITSELF:
        return True
    try:
        address = ipaddress.ip_address(machine)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _host_in(text: str) -> str:
    """The host in a URL, in ``host:port``, ``[address]:port`` or ``host/path``; else the text."""
    text = _plain_text(text)
    scheme = _SCHEME.match(text)
    inside = None if scheme else _inside(text)
    if inside:
        text = next(filter(None, inside.groups()))
    rest, end = (text[scheme.end() :], _END_OF_HOST) if scheme else (text, _PATH)
    authority = end.split(rest, maxsplit=1)[0]
    if scheme or _PASSWORD.match(authority):
        authority = authority.rpartition("@")[2]
        text = text if scheme else text.rpartition("@")[2]
    bracketed = _BRACKETED.fullmatch(authority)
    if bracketed:
        return bracketed[1]
    host = _without_ports(authority)
    if not scheme and host == authority and _OF_A_PATH.fullmatch(text):
        return text
    # Other words with colons may also be distinguished by the part after a slash.
    return host if scheme or ":" not in host or _whole(host) else text


def _plain_text(text: str) -> str:
    """Strip surrounding characters, and normalise full-width digits and colons."""
    text = text.strip()[:_MAX_READ]
    return text if text.isascii() else unicodedata.normalize("NFKC", text)[:_MAX_READ].strip()


def _inside(text: str) -> re.Match[str] | None:
    """The host in a database's connection string, which may hold a password, or in a share."""
    found = _DATABASE.fullmatch(text) or _ORACLE.fullmatch(text) or _SETTING.search(text)
    return found or _SHARE.fullmatch(text)


def _without_ports(authority: str) -> str:
    for _ in range(_MAX_PORTS):
        host, colon, port = authority.rpartition(":")
        if not colon or (port and not _PORT.fullmatch(port)) or _whole(authority):
            break
        authority = host
    return authority


def _whole(text: str) -> bool:
    """Return whether the colons of ``text`` belong to an address."""
    return _address(text) is not None or _HARDWARE_ADDRESS.fullmatch(text) is not None


def _address(text: str) -> str | None:
    """An IP address in its shortest form, without the zone that only its sender knows."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _name(text: str) -> str | None:
    """A DNS name in small letters and ASCII, without the final dot."""
    text = text.rstrip(".").lower()
    if not text.isascii():
        if len(text) > _MAX_FOREIGN:
            return None
        try:
            text = text.encode("idna").decode("ascii").rstrip(".")
        except UnicodeError:
            return None
    return text if len(text) <= MAX_LENGTH and _NAME.fullmatch(text) else None


def _made_up(text: str) -> str:
    host = _host_in(text).lower()
    digest = blake2b(host.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    slug = _NOT_IN_A_NAME.sub("-", _SECRET.sub("", host)).strip("-_.:")[:_SLUG_LENGTH].strip("-_.:")
    return f"{slug or 'machine'}-{digest}"
