"""The resilience kit: no word of the domain inside, usable alone. Its place is kept; nothing is built here yet."""
