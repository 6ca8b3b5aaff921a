"""Corral runs AI work on the GPUs you own."""

__version__ = "0.1.0"
