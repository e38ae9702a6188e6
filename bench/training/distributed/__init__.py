"""Full fine-tuning by several processes that share every batch, as one process would do it."""
