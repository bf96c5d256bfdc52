#!/usr/bin/env bash
# Resolve the dependencies of each service image, of one machine and of development, with hashes.
#
# One resolution for development comes first and binds the others, so that what is tested is
# what runs in an image. Index addresses stay out of the files: they belong to the machine.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
[[ -x $uv ]] || { echo "lock: run 'make setup' first" >&2; exit 1; }
compile() {
  "$uv" pip compile --quiet --no-header --no-annotate --no-emit-index-url --generate-hashes \
    --python-version 3.11 pyproject.toml "$@"
}

mkdir -p requirements
compile --extra dev --output-file requirements/dev.txt
for name in embedded peers traces "$@"; do
  compile --extra "$name" --constraint requirements/dev.txt --output-file "requirements/$name.txt"
done
if grep -nE 'https?://' requirements/*.txt; then
  echo "lock: an address got into the files above" >&2
  exit 1
fi
