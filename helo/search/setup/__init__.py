"""Set-up: from a request to a checked plan, and the manifest that records it."""
