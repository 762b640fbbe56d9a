"""What lists and archives share: finding files by what a user types, and saying why one cannot be read."""
