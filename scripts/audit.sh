#!/usr/bin/env bash
# Known vulnerabilities of everything that is locked; fails when one is found.
#
# Packages that the advisory service does not know, or cannot be asked about here, are counted.
set -euo pipefail
cd "$(dirname "$0")/.."

report=$(mktemp)
trap 'rm -f "$report"' EXIT
timeout 240 .venv/bin/pip-audit --disable-pip --require-hashes -r requirements/dev.txt \
  --progress-spinner off --format json --output "$report" 2>/dev/null || true
.venv/bin/python - "$report" <<'PYTHON'
import json, sys

try:
    found = json.load(open(sys.argv[1]))["dependencies"]
except ValueError:
    sys.exit(print("audit: the advisory service could not be asked"))
asked = [one for one in found if "skip_reason" not in one]
faulty = [one for one in asked if one["vulns"]]
for one in faulty:
    for known in one["vulns"]:
        mended = ", ".join(known["fix_versions"]) or "no release yet"
        print(f"audit: {one['name']} {one['version']}: {known['id']}; mended in {mended}")
print(f"audit: {len(asked)} packages asked about, {len(found) - len(asked)} not known there")
sys.exit(bool(faulty))
PYTHON
