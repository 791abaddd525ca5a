"""The command line of appfwctl, for changes that take longer than a person would wait."""

import json
import sys

from appfwd.bus import client
from appfwd.cli.main import main

client.PATIENCE = 3600.0

if __name__ == "__main__":
    sys.argv = ["appfwctl", *json.loads(sys.argv[1])]
    sys.exit(main())
