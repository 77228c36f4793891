"""Text to train language models on: extraction, filters, duplicates, the mixture, packed tokens."""
