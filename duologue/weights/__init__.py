"""Model files: finding, reading and writing them."""

from .load import Model, load

__all__ = ["Model", "load"]
