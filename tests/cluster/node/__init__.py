"""Tests on a real node. A package, so that what is made once for all of them goes with the last."""
