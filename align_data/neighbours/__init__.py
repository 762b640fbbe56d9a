"""Near-duplicates: which images are near which, by pHash and by embedding."""
