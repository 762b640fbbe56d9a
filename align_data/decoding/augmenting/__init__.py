"""Near-copies of images, made in child processes: what calibration compares."""
