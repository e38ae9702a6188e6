"""From a plan to records: blocks, stopping, building records."""
