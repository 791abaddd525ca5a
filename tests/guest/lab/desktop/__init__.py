"""What a desktop in a guest runs: the session, the reader of its screen, a sender for tests."""
