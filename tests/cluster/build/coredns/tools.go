//go:build tools

// Package tools pins one program of the test cluster.
package tools

import _ "github.com/coredns/coredns"
