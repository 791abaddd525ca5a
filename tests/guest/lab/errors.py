"""What can go wrong in the lab."""


class LabError(Exception):
    """The lab cannot do what was asked."""


class MissingToolsError(LabError):
    """Programs of the host are missing; the text names their Debian packages."""


class StepError(LabError):
    """A command of the build failed; the text has its output's end."""


class GuestDiedError(LabError):
    """QEMU ended, or never got as far as the agent; the text has the console's end."""


class RequestError(LabError):
    """The agent could not carry out a request; `errno` is the error's name, or ""."""

    def __init__(self, text: str, errno: str = "") -> None:
        super().__init__(text)
        self.errno = errno


class RequestTimeoutError(LabError):
    """The agent did not answer in time."""


class CommandError(LabError):
    """A command in the guest failed, and the caller had asked for success."""
