"""Models that PyTorch runs: those of transformers, of open_clip and of `align-data train`."""
