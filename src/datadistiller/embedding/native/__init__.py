"""The fast embedding engine: our own encoder in C++, compiled when the package is installed where a compiler is.

``source/`` holds it; begin with ``layout.h`` and ``encoder.h``. ``build.py`` compiles it, ``engine.py`` calls it,
``selfcheck.py`` decides whether it is to be trusted on this machine. Nothing depends on it: without the library, on a
processor it does not know, or on any doubt, ONNX Runtime computes from the same weights.
"""
