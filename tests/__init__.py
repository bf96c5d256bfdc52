"""Tests: unit, contracts, conformance, integration, e2e."""
