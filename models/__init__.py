"""Real and synthetic models with their data, for tests, benchmarks and the demo. Not part of the wheel.

Real subjects: `vit.VIT_S`, `minilm.MINILM`, `orientation.ORIENTATION`. To add one, list its wheel in `fetch`
and describe it with a `subject.Subject`.
"""
