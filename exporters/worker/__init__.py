"""The worker process of an engine: environment, launch, protocol."""
