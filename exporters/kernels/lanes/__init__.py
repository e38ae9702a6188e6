"""Inference of any ONNX network with one image in each lane of a vector.

A number of the graph becomes a vector of 16 images (8 without AVX-512), a value a strided array
of such vectors. ``reader`` turns a graph of one image into steps, with shapes and constants
computed on the way; ``programs`` joins elementwise steps; ``network`` lays out memory and runs
them. Convolutions and linear layers are the generated code of
``kernels/generated`` for their non-zeros.
"""
