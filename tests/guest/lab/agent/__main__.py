"""Entry point: `python3 -m agent PORT_NAME`, PORT_NAME being a virtio-serial port's name."""

import sys

from .files import FILE_OPERATIONS
from .port import Port
from .probes import ProbeDesk
from .processes import ProcessDesk
from .server import AgentServer
from .system import SYSTEM_OPERATIONS

if __name__ == "__main__":
    AgentServer(
        Port.find(sys.argv[1]),
        {
            **FILE_OPERATIONS,
            **SYSTEM_OPERATIONS,
            **ProcessDesk().operations(),
            **ProbeDesk().operations(),
        },
    ).serve()
