"""D-Bus: thin interfaces over ordinary objects."""
