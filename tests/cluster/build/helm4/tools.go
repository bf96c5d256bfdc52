//go:build tools

// Package tools pins one program of the test cluster.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
