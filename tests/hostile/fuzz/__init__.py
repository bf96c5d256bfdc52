"""Made-up input for every door, for as long as one wants: ``python -m tests.hostile.fuzz``.

Hypothesis and schemathesis draw seeds from what the contracts, the OpenAPI documents and the
property tests of ``tests/hostile`` know of good and odd input; most of what is tried are byte-wise
mutations of those. Whatever a door cannot settle ends the run, and its input is kept.
"""
