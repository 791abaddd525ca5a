"""Files that the firewall can do without: what was observed or refused, what is not asked."""
