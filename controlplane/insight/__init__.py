"""What the machine, this process, the store and the database say of themselves, and what follows from it."""
