"""What the names of image files say, and which of the files count."""
