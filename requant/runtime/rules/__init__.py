"""The rules: what an engine takes and what it makes of the rest."""
