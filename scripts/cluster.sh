#!/usr/bin/env bash
# The programs of a Kubernetes cluster for tests, and a network of their own to run them in.
#
#   scripts/cluster.sh build            build what is missing (the first time: ~18 minutes)
#   scripts/cluster.sh bin              the directory with the programs
#   scripts/cluster.sh images           build what the real node needs: packages, images (as root)
#   scripts/cluster.sh run COMMAND...   run a command inside a private network
#   scripts/cluster.sh tests PYTHON     run the tests of the real node, and the others beside them
#
# Versions and hashes are those of tests/cluster/build/*/go.mod and go.sum. A program of the right
# version on PATH is used instead of building it. The result lies in the user's cache.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
sources=$root/tests/cluster/build
say() { printf 'cluster: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

required() { sed -nE "s|^require $1 v?([^ ]+)\$|\1|p" "$sources/$2/go.mod"; }
kubernetes=$(required k8s.io/kubernetes kubernetes)
etcd=$(required go.etcd.io/etcd/server/v3 etcd)
helm=$(required helm.sh/helm/v3 helm)
helm4=$(required helm.sh/helm/v4 helm4)
kwok=$(required sigs.k8s.io/kwok kwok)
coredns=$(required github.com/coredns/coredns coredns)

cache=${XDG_CACHE_HOME:-$HOME/.cache}/barograph/cluster
hash_of() { (cd "$1" && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-16); }
bin=$cache/$(hash_of "$sources")/bin

# The version that a program prints, in whatever words.
version_of() {
  case $(basename "$1") in
    kube-*|kubelet) "$1" --version ;;
    kubectl) "$1" version --client ;;
    helm*) "$1" version --short ;;
    coredns) "$1" -version ;;
    *) "$1" --version ;;
  esac 2>/dev/null
}

on_path() { # on_path NAME VERSION: prints where it is, when it is of that version
  local found
  found=$(command -v "$1") && version_of "$found" | grep -qE "(^|[^0-9.])v?${2//./\\.}($|[^0-9.])" &&
    echo "$found"
}

need_go() {
  command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin:$root/.venv/bin
  command -v go >/dev/null || fail "Go 1.24 or newer is needed to build Kubernetes (on Debian 12:" \
    "apt-get install -t bookworm-backports golang-go; or from go.dev). Or put kube-apiserver," \
    "kube-controller-manager, kube-scheduler, kubelet, kube-proxy and kubectl $kubernetes, etcd" \
    "$etcd, helm $helm, kwok $kwok and coredns $coredns on PATH. Or set" \
    "BAROGRAPH_TEST_KUBECONFIG to the configuration of a cluster to use."
}

provide() { # provide NAME VERSION MODULE PACKAGE [LDFLAGS]
  local name=$1 version=$2 module=$3 package=$4 flags=${5:-} found kept started=$SECONDS
  [[ -x $bin/$name ]] && return
  # By its own module's pins, so that a change of another's does not build it again.
  kept=$cache/programs/$name-$(hash_of "$sources/$module")
  mkdir -p "$bin"
  if [[ -n $version ]] && found=$(on_path "$name" "$version"); then
    say "$name $version: using $found"
    ln -sfn "$found" "$bin/$name"
    return
  fi
  if [[ ! -x $kept ]]; then
    need_go
    mkdir -p "$cache/programs"
    say "$name ${version:-}: building"
    (cd "$sources/$module" && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath \
      -buildvcs=false -ldflags "-s -w $flags" -o "$kept.partial" "$package") ||
      fail "building $name failed; the message is above"
    mv "$kept.partial" "$kept"
    say "$name ${version:-}: built in $((SECONDS - started)) s"
  fi
  ln -sfn "$kept" "$bin/$name"
}

# Kinds of operators that the chart makes objects of, from the modules of those who made them.
kinds() {
  local module version sum file found
  [[ -d $bin/kinds ]] && return
  need_go
  mkdir -p "$bin/kinds.partial"
  while read -r module version sum file; do
    found=$(cd "$cache" && go mod download -json "$module@$version") || fail "$module@$version: $found"
    grep -qF "\"Sum\": \"$sum\"" <<<"$found" || fail "$module@$version is not what it was"
    install -m 644 "$(sed -nE 's/^\t"Dir": "(.*)",$/\1/p' <<<"$found")/$file" "$bin/kinds.partial"
  done <"$sources/kinds/modules"
  mv "$bin/kinds.partial" "$bin/kinds"
}

build() {
  mkdir -p "$bin"
  # Two at once would do the same work twice.
  exec 9>"$cache/lock"
  flock 9
  local name of=k8s.io/component-base/version.gitVersion client=k8s.io/client-go/pkg/version
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
    provide "$name" "$kubernetes" kubernetes "k8s.io/kubernetes/cmd/$name" \
      "-X $of=v$kubernetes -X $client.gitVersion=v$kubernetes"
  done
  provide etcd "$etcd" etcd go.etcd.io/etcd/server/v3
  provide kwok "$kwok" kwok sigs.k8s.io/kwok/cmd/kwok \
    "-X sigs.k8s.io/kwok/pkg/consts.Version=v$kwok"
  provide helm "$helm" helm helm.sh/helm/v3/cmd/helm \
    "-X helm.sh/helm/v3/internal/version.version=v$helm"
  provide helm4 "$helm4" helm4 helm.sh/helm/v4/cmd/helm \
    "-X helm.sh/helm/v4/internal/version.version=v$helm4"
  provide coredns "$coredns" coredns github.com/coredns/coredns
  provide netpol '' policies sigs.k8s.io/kube-network-policies/cmd
  provide pause '' pause .
  kinds
  exec 9>&-
}

# A network, mount and process namespace: nothing in it listens on the machine, and when the
# command ends the kernel ends every process, route, firewall rule and mount it has made.
run() {
  local user=()
  [[ $EUID -eq 0 ]] || user=(--user --map-root-user)
  command -v unshare >/dev/null && command -v ip >/dev/null ||
    fail "unshare (package util-linux) and ip (package iproute2) are needed"
  export BAROGRAPH_CLUSTER_BIN=$bin PATH=$bin:$PATH
  # --kill-child: whoever kills us kills what runs inside, too.
  exec unshare "${user[@]}" --net --mount --pid --fork --kill-child --mount-proc \
    "$root/scripts/cluster_inside.sh" "$@"
}

# Of Debian's packages and this repository's Dockerfile; see tests/cluster/images.py.
images() {
  "$root/scripts/setup.sh" node
  cd "$root" && nice .venv/bin/python -m tests.cluster.images "$bin"
}

# Both halves wait most of the time. Each has a network and a control plane of its own.
tests() {
  local status=0
  log=$(mktemp)
  (run "$1" -m pytest tests/cluster --ignore=tests/cluster/node) </dev/null >"$log" 2>&1 &
  other=$!
  # unshare hears no other signal while it waits.
  trap 'kill -KILL "$other" 2>/dev/null || true; rm -f "$log"' EXIT
  (run "$1" -m pytest tests/cluster/node) || status=$?
  say "waiting for the tests with fake nodes"
  wait "$other" || status=$?
  cat "$log"
  return "$status"
}

case ${1:-} in
  build) build ;;
  images) build; images ;;
  bin) echo "$bin" ;;
  run) shift; build; run "$@" ;;
  tests) build; tests "${2:?Python}" ;;
  *) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
