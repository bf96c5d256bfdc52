"""The demonstration: both flows end to end on this machine, in minutes, with the real parts."""
