"""What a model is trained to do: losses of both towers' embeddings, one module each, and their registry."""
