"""The control loop: work that is done once for the whole site, by whichever process leads."""
