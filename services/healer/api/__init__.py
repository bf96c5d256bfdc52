"""The healer's HTTP API: alerts from outside, links, silences, channels (decision 40)."""
