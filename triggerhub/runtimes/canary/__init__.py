"""What is run in a sandbox to find out what it is worth."""
