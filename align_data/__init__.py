"""align-data builds image-text training sets from the web's alt-text, and explains every pair it drops."""

__version__ = "0.1.0"
