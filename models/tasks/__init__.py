"""What the outputs of networks mean, and how far two networks agree on it; a file for each task."""
