"""What every room uses, and what knows of none: errors, progress, secrets, keys, resources, worker processes."""
