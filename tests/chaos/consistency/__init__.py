"""Proof of the consistency contract: servers that are killed, a log of every answer, and a linear replay of what was requested."""
