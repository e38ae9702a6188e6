"""A detection head on cached feature maps: anchors, targets, loss, training, decoding."""
