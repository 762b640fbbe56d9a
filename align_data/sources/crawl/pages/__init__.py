"""A record to its page and the rows of its images: from HTML, and from what a WAT says of it."""
