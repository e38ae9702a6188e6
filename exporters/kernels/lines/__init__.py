"""Inference of a few images: the pixels of a plane side by side in the lanes of a vector.

A channel's plane is one line of numbers: its rows, each with zeros behind it. A tap of a
convolution then is the same line read from another place, whatever the plane's size, and a vector
holds 16 neighbouring pixels of one image. It executes what ``kernels/lanes`` reads from a file, as
far as it keeps to whole planes.
"""
