"""What is asked, and of whom: the same world and the same questions for every side of a comparison."""
