"""Replay: recorded series through detector, predictor and the healer's policy, in virtual time.

The code is the services' own; only the broker and the clock are left out. A program on top
of them, as examples/demo is: it may import several services, which they may not of each other.
"""
