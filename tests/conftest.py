"""For all tests: the programs that they start can be interrupted."""

import signal

# A shell that starts a job in the background has it ignore SIGINT, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
