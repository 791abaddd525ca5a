"""The desktop's agent: asks with notifications, unprivileged."""
