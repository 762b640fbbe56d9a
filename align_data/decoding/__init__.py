"""Images: decoding what was fetched, and measuring it."""
