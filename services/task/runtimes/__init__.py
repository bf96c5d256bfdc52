"""The places where members can run: this machine, or a Kubernetes cluster."""
