"""Which images are copies: by their bytes and by their pHash."""
