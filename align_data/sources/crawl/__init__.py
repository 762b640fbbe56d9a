"""From archives of a crawl, WARC and WAT, to rows: an image's URL, its text, and where it was found."""
