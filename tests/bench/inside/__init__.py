"""Programs that measure within a guest; guests.py brings them there. They know no test code."""
