"""Find what is inside of slide files: pictures, their levels and channels."""
