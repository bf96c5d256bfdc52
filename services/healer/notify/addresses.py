"""Mail addresses as people write them, and as a mail's header carries them."""

from __future__ import annotations

from email.errors import MessageError
from email.headerregistry import Address
from email.utils import parseaddr

from services.healer.notify.render.numbers import one_line


def address(text: str) -> Address:
    """The address, with its domain in ASCII: mail servers read no other.

    Raises:
        ValueError: it is none that a mail can be sent to, with the reason.

    >>> str(address("Büro <ops@bücher.example>"))
    'Büro <ops@xn--bcher-kva.example>'
    """
    name, spec = parseaddr(one_line(text))
    local, _, domain = spec.rpartition("@")
    if not text.isprintable() or not local or not domain:
        raise ValueError(f"no mail address: {text!r}")
    if not local.isascii():
        # RFC 6531 needs every server on the way to know SMTPUTF8, and there is no other way.
        raise ValueError(f"no mail address: {text!r}: what stands before the @ must be ASCII")
    try:
        return Address(display_name=name, addr_spec=f"{local}@{_in_ascii(domain)}")
    except (MessageError, ValueError, IndexError) as error:
        raise ValueError(f"no mail address: {text!r}: {error}") from error


def _in_ascii(domain: str) -> str:
    return domain if domain.isascii() else domain.encode("idna").decode()
