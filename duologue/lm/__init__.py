"""Codes to codes: the speech-text language model."""

from .model import LM
from .sampling import Sampling

__all__ = ["LM", "Sampling"]
