"""Sockets of people: who is behind one, what it may hear, what waits for it, and when it must go."""
