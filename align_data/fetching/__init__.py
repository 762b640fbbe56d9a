"""Fetching images from untrusted hosts: the guard, the client, and the order of requests."""
