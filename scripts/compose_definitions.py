"""Write RabbitMQ definitions for compose.yaml: a user per principal, passwords from .env.

``python scripts/compose_definitions.py`` writes ``.state/compose/`` and ``.env`` once, and later
what a newer version has more; both hold secrets and are never committed. So is an empty
``barograph.toml``.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from shared.embedded.broker_users import definitions, random_passwords  # noqa: E402 - the path is set above
from shared.embedded.object_store_tls import new_identity  # noqa: E402 - as above
from shared.messaging.tokens import new_signing_key, public_key  # noqa: E402 - as above


def main() -> None:
    """Write what is not there."""
    env, target = ROOT / ".env", ROOT / ".state" / "compose"
    settings = ROOT / "barograph.toml"
    if not settings.exists():
        # The services' users must read it; no secret belongs there.
        _write(settings, "# Settings of the services: docs/how-to/configure.md\n", 0o644)
    if env.exists():
        known = env.read_text()
        added = _added(known, target)
        _write(env, known + "".join(f"{line}\n" for line in added), 0o600)
        # Rights and exchanges are of this version, passwords as they were.
        _write(target / "definitions.json", json.dumps(definitions(_passwords(known))), 0o644)
        for line in added:
            print(f"added {line.partition('=')[0]} to {env}")
        print(f"{env} was there already; remove it to make new passwords")
        return
    target.mkdir(parents=True, exist_ok=True)
    passwords = random_passwords()
    lines = [f"BROKER_PASSWORD_{name.upper()}={value}" for name, value in passwords.items()]
    s3_key, s3_secret = secrets.token_hex(10), secrets.token_hex(20)
    lines += [f"S3_ACCESS_KEY={s3_key}", f"S3_SECRET_KEY={s3_secret}"]
    lines += _added("", target)
    # The broker's container runs as a user of its own and must read this; passwords are hashed.
    _write(target / "definitions.json", json.dumps(definitions(passwords)), 0o644)
    target.chmod(0o711)
    target.parent.chmod(0o711)
    _write(env, "\n".join(lines) + "\n", 0o600)
    print(f"wrote {env} and {target}")


def _passwords(known: str) -> dict[str, str]:
    """The broker's users with their passwords, from the lines of an environment file."""
    prefix = "BROKER_PASSWORD_"
    pairs = (line.partition("=") for line in known.splitlines() if line.startswith(prefix))
    return {name.removeprefix(prefix).lower(): value for name, _, value in pairs}


def _added(known: str, target: Path) -> list[str]:
    """Lines for what ``known`` has not: no server remembers an older value of it."""
    names = ("STORE_PASSWORD", "CLIENT_TOKEN", "GATEWAY_TOKEN", "HEALER_TOKEN")
    lines = [f"{name}={secrets.token_hex(20)}" for name in names if f"{name}=" not in known]
    if "MEMBER_SIGNING_KEY=" not in known:
        key = new_signing_key()
        _write(target / "members.pem", public_key(key), 0o644)
        escaped = key.strip().replace("\n", "\\n")
        lines.append(f'MEMBER_SIGNING_KEY="{escaped}"')
    if "S3_INNER_KEY=" not in known:
        for name, pem in zip(("CERTIFICATE", "KEY"), new_identity(), strict=True):
            escaped = pem.strip().replace("\n", "\\n")
            lines.append(f'S3_INNER_{name}="{escaped}"')
    # Earlier versions kept the object store's keys where every user of the machine could read them.
    (target / "s3.json").unlink(missing_ok=True)
    return lines


def _write(path: Path, text: str, mode: int) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)


if __name__ == "__main__":
    main()
