"""The safe fixes: edits of a quantized graph that need no calibration data and no decision."""
