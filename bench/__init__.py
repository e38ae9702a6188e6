"""How it is measured: plans, tasks, workloads, the clock, statistics, records, reports."""
