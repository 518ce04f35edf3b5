"""TensorRT engines, built with its Python API."""
