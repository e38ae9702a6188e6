"""Inference of ONNX networks on the sparse kernels."""
