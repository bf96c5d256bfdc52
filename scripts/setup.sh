#!/usr/bin/env bash
# Set this machine up: system packages (Debian, as root), and .venv from the hashed lock.
#
#   scripts/setup.sh embedded   what running everything on one machine needs
#   scripts/setup.sh dev        that, and what the tests and checks need
#   scripts/setup.sh peers      other projects' libraries that benchmarks measure beside ours, in
#                               an environment of their own in the user's cache
#
# Quick when there is nothing to do. Says what is missing where it cannot install it.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${1:-dev}
lock=requirements/$profile.txt
venv=.venv
[[ $profile != peers ]] || venv=${XDG_CACHE_HOME:-$HOME/.cache}/barograph/peers
[[ -f $lock || $profile == node ]] || { echo "setup: no profile '$profile'" >&2; exit 2; }
say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Debian's interpreter first: other users on the machine can read it, unlike one in a home.
choose_python() {
  local candidate
  for candidate in "${PYTHON:-}" /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
    if [[ -n $candidate ]] && command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      command -v "$candidate"
      return
    fi
  done
}

missing_node_packages() {
  command -v containerd >/dev/null || echo containerd
  command -v runc >/dev/null || echo runc
  [[ -x /usr/lib/cni/ptp ]] || echo containernetworking-plugins
  command -v iptables >/dev/null || echo iptables
  command -v mmdebstrap >/dev/null || echo mmdebstrap
  command -v buildah >/dev/null || echo buildah
}

missing_packages() {
  local python
  python=$(choose_python)
  [[ -n $python ]] || echo python3
  # A python3 of the system needs a package of its own for venv.
  { [[ -n $python ]] && "$python" -c 'import ensurepip, venv' 2>/dev/null; } || echo python3-venv
  [[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || echo rabbitmq-server
  command -v epmd >/dev/null || echo erlang-base
  [[ $profile == dev ]] || return 0
  command -v amqp-publish >/dev/null || echo amqp-tools
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || echo postgresql
  command -v prometheus >/dev/null || echo prometheus
  command -v prometheus-node-exporter >/dev/null || echo prometheus-node-exporter
  command -v chromium >/dev/null || echo chromium
  command -v chromedriver >/dev/null || echo chromium-driver
  command -v node >/dev/null || echo nodejs
  command -v npm >/dev/null || echo npm
}

install_packages() {
  local policy=/usr/sbin/policy-rc.d kept=''
  command -v apt-get >/dev/null ||
    fail "missing: $*. This is not Debian: install them by hand, then run this again."
  [[ $EUID -eq 0 ]] || fail "missing: $*. As root: apt-get install --no-install-recommends $*"
  say "installing $*"
  # Packages start their servers when installed; ours are private, so keep those off. Whatever
  # the machine had in that place comes back afterwards.
  if [[ -e $policy ]]; then
    kept=$(mktemp)
    cp -p "$policy" "$kept"
  fi
  restore_policy() {
    if [[ -n $kept ]]; then mv "$kept" "$policy"; else rm -f "$policy"; fi
  }
  trap restore_policy EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  export DEBIAN_FRONTEND=noninteractive
  local log
  log=$(mktemp)
  { apt-get -o DPkg::Lock::Timeout=300 -q update &&
    apt-get -o DPkg::Lock::Timeout=300 -q install -y --no-install-recommends "$@"; } \
    >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "apt-get failed; its log: $log"; }
  rm -f "$log"
  restore_policy
  trap - EXIT
}

install_python_packages() {
  local python stamp wanted place
  stamp=$venv/.setup-$profile
  place=$(realpath -s "$venv")
  wanted=$(cat "$lock" pyproject.toml | sha256sum | cut -d' ' -f1)-$place
  if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then return 0; fi
  python=$(choose_python)
  [[ -n $python ]] || fail "Python 3.11 or newer is needed"
  # The scripts of a virtual environment name its place: one that was moved with its folder, copied
  # or half made is made anew.
  if ! "$venv/bin/python" -c '' 2>/dev/null ||
    [[ $(sed -n 's/^command = .* -m venv //p' "$venv/pyvenv.cfg") != "$place" ]]; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
  fi
  say "installing Python packages from $lock"
  # uv itself comes from the lock, too, with its hash.
  sed -n '/^uv==/,/[^\\]$/p' requirements/dev.txt >"$venv/uv.txt"
  [[ -x $venv/bin/uv ]] ||
    "$venv/bin/pip" install --quiet --require-hashes -r "$venv/uv.txt"
  # Like pip, uv trusts whom this machine trusts: a company's own authority, for one.
  if [[ -f /etc/ssl/certs/ca-certificates.crt ]]; then export UV_SYSTEM_CERTS=true; fi
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --require-hashes -r "$lock"
  # The commands `barograph` and `tshell`, straight from this work tree. The peers' environment
  # serves every work tree: there, the code comes from where a benchmark is started.
  [[ $profile == peers ]] || .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps -e .
  compile_modules "$venv"/lib/python*/site-packages
  echo "$wanted" >"$stamp"
}

# Compiled here once. Otherwise every process compiles for seconds all that it imports, where
# PYTHONDONTWRITEBYTECODE is set or its user may not write here, as the users of jobs. Files that
# Python cannot compile (a few packages bring templates) are never imported.
compile_modules() {
  "$venv/bin/python" -m compileall -qq -j 2 -x '/tests/' "$@" || true
}

install_node_packages() {
  [[ $profile == dev ]] || return 0
  # Kept in the user's cache, by the lock's hash; the tests look there, too.
  .venv/bin/python -c 'from tests.foreign import node_root; node_root()'
}

if [[ $profile == node ]]; then
  mapfile -t missing < <(missing_node_packages)
  if ((${#missing[@]})); then install_packages "${missing[@]}"; fi
  exit 0
fi
mapfile -t missing < <(missing_packages)
if ((${#missing[@]})); then install_packages "${missing[@]}"; fi
install_python_packages
compile_modules examples replay services shared
install_node_packages
