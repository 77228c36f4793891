"""Audio to codes and back."""

from duologue.codec.mimi import Codec, CodecState

__all__ = ["Codec", "CodecState"]
