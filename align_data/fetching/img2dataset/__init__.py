"""img2dataset as the transport: all of it is in this folder."""
