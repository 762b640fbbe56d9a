"""Where pairs come from: lists of people, and img2dataset's output."""
