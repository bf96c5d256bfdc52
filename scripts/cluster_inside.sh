#!/usr/bin/env bash
# Start of everything inside the private network: see `run` in scripts/cluster.sh.
set -euo pipefail
ip link set lo up
# The address of the control plane and of the node: the API server will not advertise a loopback
# address. An empty bridge carries it; kernels without the dummy driver have bridges.
ip link add node0 type bridge
ip address add 10.99.0.1/24 dev node0
ip link set node0 up
# Cluster addresses have a route, so that a service's packets get as far as kube-proxy's rules.
ip route add default dev node0
export BAROGRAPH_CLUSTER_ADDRESS=10.99.0.1
# Not exec: the first process of the namespace has to collect the orphans.
status=0
"$@" || status=$?
exit "$status"
