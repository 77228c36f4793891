"""Torch blocks that the codec and the language model share. Modules hold weights only; streaming state is passed in."""
