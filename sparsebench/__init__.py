"""Time and accuracy of sparse vision models, compared with their dense baselines."""
