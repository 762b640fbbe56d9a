"""Images as a model sees them, prepared in child processes: bytes go there, pixels come back."""
