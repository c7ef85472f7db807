"""What a loop does, seen from inside the program and from outside of it."""
