"""What several widgets show and use."""
