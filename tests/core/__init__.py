"""The core tier: pure code against brute force, models and real tools. Runs anywhere."""
