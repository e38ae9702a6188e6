"""Results, out to where people keep them: hub, experiment trackers, a page of many machines."""
