"""Circuit breakers: states, epochs and leased probes, shared across processes. Importing it connects to nothing."""
