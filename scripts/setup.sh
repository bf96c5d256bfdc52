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
need_gb=4
[[ $profile != peers ]] || venv=${XDG_CACHE_HOME:-$HOME/.cache}/barograph/peers
[[ -f $lock || $profile == node ]] || { echo "setup: no profile '$profile'" >&2; exit 2; }
say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
# Whatever the machine had in this place is put back; empty where nothing was changed.
policy=''
policy_kept=''
end_in_order() {
  local job
  # What runs in a script's background does not notice Ctrl-C.
  for job in $(jobs -p); do kill "$job" 2>/dev/null || true; done
  wait
  restore_policy
}
trap end_in_order EXIT
# Some programs answer Ctrl-C by ending as after any fault, which alone would not end this script.
trap 'exit 130' INT
trap 'exit 143' TERM
# slowly TEXT COMMAND...: minutes without a word look as if nothing went on.
slowly() {
  local status=0 beats
  beat "$1" &
  beats=$!
  shift
  "$@" || status=$?
  kill "$beats" 2>/dev/null || true
  wait "$beats" 2>/dev/null || true
  return "$status"
}
beat() {
  local begin=$SECONDS idle
  exec {idle}<> <(:)
  while ! read -r -t 60 -u "$idle" && kill -0 $$ 2>/dev/null; do
    say "$1, $(((SECONDS - begin) / 60)) min so far"
  done
}
# Services and jobs run as other users, who must be able to read what is installed here.
umask 022

suits() {
  command -v "$1" >/dev/null &&
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# The one that PYTHON names, or Debian's first: other users on the machine can read it, unlike one
# in a home.
choose_python() {
  local candidate
  if [[ -n ${PYTHON:-} ]]; then
    suits "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.11 or newer"
    command -v "$PYTHON"
    return
  fi
  for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
    if suits "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
}

# Packages take room: saying so first is clearer than an error in the middle of the installation.
check_place() {
  local room
  [[ -w . ]] || fail "cannot write to $PWD: use a checkout of your own, or ask its owner to run this"
  room=$(df --output=avail -BG . | tail -n 1)
  room=${room//[!0-9]/}
  [[ -n $room && $room -lt $need_gb ]] || return 0
  fail "$PWD has ${room} GB free; the Python packages need ${need_gb} GB"
}

# As root, each job runs as a user of its own. If it could not enter, the first job would be refused
# minutes later.
check_others_can_enter() {
  local place='' part parts ways="or run this as an ordinary user"
  [[ $EUID -eq 0 ]] && command -v setpriv >/dev/null || return 0
  IFS=/ read -ra parts <<<"$PWD"
  for part in "${parts[@]:1}"; do
    place+=/$part
    as_nobody test -x "$place" || fail "jobs run as users of their own, who cannot enter $place:" \
      "move this checkout, for instance to /opt; or chmod o+x $place; $ways"
  done
  as_nobody test -r scripts/setup.sh || fail "jobs run as users of their own, who cannot read" \
    "what is in $PWD: chmod -R go+rX . there; $ways"
}
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

missing_node_packages() {
  command -v containerd >/dev/null || echo containerd
  command -v runc >/dev/null || echo runc
  [[ -x /usr/lib/cni/ptp ]] || echo containernetworking-plugins
  command -v iptables >/dev/null || echo iptables
  command -v mmdebstrap >/dev/null || echo mmdebstrap
  command -v buildah >/dev/null || echo buildah
}

missing_packages() {
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

restore_policy() {
  [[ -n $policy ]] || return 0
  if [[ -n $policy_kept ]]; then mv "$policy_kept" "$policy"; else rm -f "$policy"; fi
  policy=''
  policy_kept=''
}

install_packages() {
  command -v apt-get >/dev/null ||
    fail "missing: $*. This is not Debian: install them by hand, then run this again."
  [[ $EUID -eq 0 ]] || fail "missing: $*. As root: apt-get install --no-install-recommends $*"
  say "installing $*"
  # Packages start their servers when installed; ours are private, so keep those off.
  if [[ -e /usr/sbin/policy-rc.d ]]; then
    policy_kept=$(mktemp)
    cp -p /usr/sbin/policy-rc.d "$policy_kept"
  fi
  policy=/usr/sbin/policy-rc.d
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  export DEBIAN_FRONTEND=noninteractive
  local log
  log=$(mktemp)
  slowly "still installing" run_apt "$log" "$@" ||
    { tail -n 20 "$log" >&2; fail "apt-get failed; its log: $log"; }
  rm -f "$log"
  restore_policy
}

run_apt() {
  local log=$1
  shift
  { apt-get -o DPkg::Lock::Timeout=300 -q update &&
    apt-get -o DPkg::Lock::Timeout=300 -q install -y --no-install-recommends "$@"; } >"$log" 2>&1
}

install_python_packages() {
  local stamp wanted place
  stamp=$venv/.setup-$profile
  place=$(realpath -s "$venv")
  wanted=$(cat "$lock" pyproject.toml | sha256sum | cut -d' ' -f1)-$place
  if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then return 0; fi
  [[ -n $python ]] || python=$(choose_python)
  [[ -n $python ]] || fail "Python 3.11 or newer is needed; PYTHON=/path/to/python names one"
  check_place
  # The scripts of a virtual environment name its place: one that was moved with its folder, copied
  # or half made is made anew.
  if ! "$venv/bin/python" -c '' 2>/dev/null ||
    [[ $(sed -n 's/^command = .* -m venv //p' "$venv/pyvenv.cfg") != "$place" ]]; then
    say "making $place with $python"
    rm -rf "$venv"
    "$python" -m venv "$venv"
  fi
  say "installing Python packages from $lock: 3 GB, which takes one to ten minutes"
  # uv itself comes from the lock, too, with its hash.
  sed -n '/^uv==/,/[^\\]$/p' requirements/dev.txt >"$venv/uv.txt"
  [[ -x $venv/bin/uv ]] ||
    "$venv/bin/pip" install --quiet --require-hashes -r "$venv/uv.txt" || not_fetched
  # Like pip, uv trusts whom this machine trusts: a company's own authority, for one.
  if [[ -f /etc/ssl/certs/ca-certificates.crt ]]; then export UV_SYSTEM_CERTS=true; fi
  # A home that cannot be written to has no room for a cache either.
  [[ -n ${UV_CACHE_DIR:-} || -w ${XDG_CACHE_HOME:-$HOME} ]] || export UV_NO_CACHE=true
  # A terminal sees how far it is; a log does not want that.
  local shown=(slowly "still installing" "$venv/bin/uv" --quiet)
  [[ ! -t 2 ]] || shown=("$venv/bin/uv")
  "${shown[@]}" pip install --python "$venv/bin/python" --require-hashes -r "$lock" || not_fetched
  # The commands `barograph` and `tshell`, straight from this work tree, built by the lock's own
  # setuptools and not by one that is fetched without a hash. The peers' environment serves every
  # work tree: there, the code comes from where a benchmark is started.
  [[ $profile == peers ]] || .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps \
    --no-build-isolation -e . || not_fetched
  say "compiling them, which takes half a minute to a few"
  slowly "still compiling" compile_modules "$venv"/lib/python*/site-packages
  echo "$wanted" >"$stamp"
}

not_fetched() {
  fail "the Python packages were not all installed; above is why. What was fetched is kept: run this
  again. Behind a proxy, set https_proxy; your own index or authority as for pip and uv."
}

# Compiled here once. Otherwise every process compiles for seconds all that it imports, where
# PYTHONDONTWRITEBYTECODE is set or its user may not write here, as the users of jobs. Files that
# Python cannot compile (a few packages bring templates) are never imported. An
# interrupted Python need not show where it was.
compile_modules() {
  "$venv/bin/python" -m compileall -qq -j 2 -x '/tests/' "$@" 2>/dev/null || true
}

# Otherwise the first processes that judge and forecast do it, and answer nothing meanwhile. Kept in
# the user's cache (see shared/compiled.py), where also the note lies that it is done.
compile_kernels() {
  local cache=${NUMBA_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/barograph/numba} wanted service
  local running=()
  # Each process compiles for itself where no cache can be written.
  { mkdir -p "$cache" && [[ -w $cache ]]; } 2>/dev/null || return 0
  wanted=$({
    grep -rlZ --include='*.py' 'shared\.compiled import' services shared | sort -z | xargs -0 cat
    cat "$lock"
    uname -m
    grep -m 1 'model name' /proc/cpuinfo || true
  } | sha256sum | cut -c -16)
  [[ ! -f $cache/set-up-$wanted ]] || return 0
  say "compiling the numerical kernels, two minutes of processor time"
  for service in detector predictor; do
    "$venv/bin/python" -m "services.$service.compiling" &
    running+=($!)
  done
  slowly "still compiling" all_succeed "${running[@]}" ||
    { say "not all were compiled; the services will do it"; return 0; }
  touch "$cache/set-up-$wanted"
}

all_succeed() {
  local process
  for process in "$@"; do wait "$process" || return 1; done
}

install_node_packages() {
  [[ $profile == dev ]] || return 0
  # Kept in the user's cache, by the lock's hash; the tests look there, too.
  .venv/bin/python -c 'from tests.foreign import node_root; node_root()'
}

# The chart's tests would build it in their midst.
build_helm() {
  [[ $profile == dev ]] || return 0
  slowly "still building helm, where there is none" \
    .venv/bin/python -c 'from tests.chart.helm import find_helm; find_helm()' ||
    fail "helm, which the chart's tests run, could not be built; above is why"
}

if [[ $profile == node ]]; then
  mapfile -t missing < <(missing_node_packages)
  if ((${#missing[@]})); then install_packages "${missing[@]}"; fi
  exit 0
fi
[[ $profile == peers ]] || check_others_can_enter
python=$(choose_python)
mapfile -t missing < <(missing_packages)
if ((${#missing[@]})); then install_packages "${missing[@]}"; fi
install_python_packages
compile_modules examples replay services shared
[[ $profile == peers ]] || compile_kernels
install_node_packages
build_helm
