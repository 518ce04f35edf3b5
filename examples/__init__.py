"""What using the package looks like."""
