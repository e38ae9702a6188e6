"""ONNX files run as they are: what a graph takes, gives and holds, without any PyTorch network.

The graph stays as its author left it. ``graph`` opens and checks a file, ``weights`` reads its
layers and their zeros, ``running`` runs it, ``backbone`` puts these together. Importing this
package imports neither onnx nor torch.
"""
