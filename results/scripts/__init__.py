"""Scripts that measure the suite itself; their results are in results/README.md."""
