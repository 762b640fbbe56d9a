"""What is raised for a file's bytes, before they are a sentence that names the file."""


class DamagedError(ValueError):
    """Bytes that are not what a format says."""
