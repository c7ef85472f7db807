"""What the benchmark programs share. Only the standard library is used."""
