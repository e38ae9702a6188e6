"""What is measured: backbones, masks, costs, checkpoints, pruning methods."""
