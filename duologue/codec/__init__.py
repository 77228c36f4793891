"""Audio to codes and back."""

from .mimi import Codec, CodecState

__all__ = ["Codec", "CodecState"]
