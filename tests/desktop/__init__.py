"""A screen that is not there, with a real notification server, whose buttons a program presses."""
