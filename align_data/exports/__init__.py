"""What an export is: its manifest and its shards."""
