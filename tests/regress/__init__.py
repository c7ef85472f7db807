"""Bugs that other event loops have had, each with a test that is named after what went wrong.

The files are by area. "uvloop 645" is issue 645 of uvloop; other loops are named without numbers.
Where a test elsewhere covers the whole of it, the docstring of the file says which.
"""
