"""Print RabbitMQ definitions for compose.yaml: a user per principal, passwords from .env.

``python scripts/compose_definitions.py`` writes ``.state/compose/definitions.json`` and ``.env``
once; both hold secrets, are readable by their owner only and are never committed.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from shared.embedded.broker_users import definitions, random_passwords  # noqa: E402


def main() -> None:
    """Write both files unless they are there."""
    env, target = ROOT / ".env", ROOT / ".state" / "compose"
    if env.exists():
        print(f"{env} is there already; remove it to make new passwords")
        return
    target.mkdir(parents=True, exist_ok=True)
    passwords = random_passwords()
    lines = [f"BROKER_PASSWORD_{name.upper()}={value}" for name, value in passwords.items()]
    s3_key, s3_secret = secrets.token_hex(10), secrets.token_hex(20)
    lines += [f"S3_ACCESS_KEY={s3_key}", f"S3_SECRET_KEY={s3_secret}"]
    tokens = ("STORE_PASSWORD", "GATEWAY_TOKEN", "HEALER_TOKEN")
    lines += [f"{name}={secrets.token_hex(20)}" for name in tokens]
    identity = {
        "name": "barograph",
        "credentials": [{"accessKey": s3_key, "secretKey": s3_secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    # The servers' containers run as users of their own and must read theirs.
    _write(target / "definitions.json", json.dumps(definitions(passwords)), 0o644)
    _write(target / "s3.json", json.dumps({"identities": [identity]}), 0o644)
    target.chmod(0o711)
    target.parent.chmod(0o711)
    _write(env, "\n".join(lines) + "\n", 0o600)
    print(f"wrote {env} and {target}")


def _write(path: Path, text: str, mode: int) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
    os.chmod(path, mode)  # noqa: PTH101 - beside the touch above


if __name__ == "__main__":
    main()
