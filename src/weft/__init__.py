"""weft: Docker's networks without Docker."""

__version__ = "0.1.0"
