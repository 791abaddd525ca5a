"""The tests, a folder for each tier."""
