"""ONNX Runtime: its execution providers, sessions, and where nodes run."""
