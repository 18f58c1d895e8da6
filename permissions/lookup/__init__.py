"""Search that equals check: each module answers one direction."""
