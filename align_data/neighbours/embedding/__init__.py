"""Which images are near by their embeddings."""
