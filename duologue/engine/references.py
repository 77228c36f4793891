"""Texts as the references that a model reads while it speaks."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from duologue.lm.reference import ReferenceEncoder


class References:
    """Encodes texts, one at a time."""

    def __init__(self, encoder: ReferenceEncoder, encode: Callable[[str], list[int]]):
        self._encoder, self._encode = encoder, encode
        self._lock = threading.Lock()
        self.thread = ThreadPoolExecutor(
            1, "references"
        )  # texts that wait here, not in a shared pool, can be cancelled

    def vectors(self, text: str) -> torch.Tensor:
        """Float32 `[T, D]`, on the CPU."""
        device = self._encoder.projection.weight.device
        with self._lock:
            tokens = self._encode(text) if text else []
            entries = self._encoder.embedding.num_embeddings
            tokens_T = torch.tensor([t for t in tokens if 0 <= t < entries], dtype=torch.int64, device=device)
            return self._encoder(tokens_T).float().cpu()
