"""Fetching images from hosts that nobody vouches for: the guard, the client, and the order in which URLs are asked."""
