"""The mends: one rule's remedy each, where it needs no data and no decision."""
