"""Detection on a classification backbone: its feature maps, and a light head on them."""
