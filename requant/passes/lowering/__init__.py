"""Lowering of planned layers: Q/DQ around a float op, integers behind a DQ alone, or an integer product."""
