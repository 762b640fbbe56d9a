"""An archive's bytes to its records: gzip members, WARC records, and the HTTP messages in them."""
