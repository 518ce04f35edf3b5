"""What the package is worth, measured: accuracy and latency."""
