"""What a process finds around it."""
