//go:build tools

// Package tools pins one program of the test cluster.
package tools

import _ "sigs.k8s.io/kube-network-policies/cmd"
