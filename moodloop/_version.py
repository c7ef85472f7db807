"""The one place where the version is written; the build reads it from here without importing it."""

__version__ = "0.1.0"
