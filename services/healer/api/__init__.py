"""The healer's HTTP: alerts in, links, silences, channels. See docs/decisions/0040."""
