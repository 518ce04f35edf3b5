"""What half precision does to a graph: which nodes stay in float32, and how types change between them."""
