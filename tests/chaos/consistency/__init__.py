"""Proof of the consistency contract: servers that are killed, every answer logged, a linear replay of what was requested."""
