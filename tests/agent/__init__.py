"""The agent of the desktop: what it says, and what becomes of its notifications."""
