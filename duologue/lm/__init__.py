"""Codes to codes: the speech-text language model."""

from duologue.lm.model import LM
from duologue.lm.sampling import Sampling

__all__ = ["LM", "Sampling"]
