"""Training on the sparse kernels: a PyTorch module whose parameters are the non-zeros."""
