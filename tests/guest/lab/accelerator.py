"""Which accelerator works here: KVM if a guest really starts with it, else emulation."""

import os
from pathlib import Path

from .errors import GuestDiedError, LabError
from .guest import boot_image
from .host import step
from .machine import Accelerator, Machine, qemu_version

PROBE_SECONDS = 20.0
VARIABLE = "APPFWD_GUEST_ACCEL"


def choose_accelerator(built: Path) -> Accelerator:
    """Return the accelerator for guests of an image; $APPFWD_GUEST_ACCEL decides if it is set.

    LabError if the variable names none. Trying KVM takes up to 20 s, once for each image.
    """
    wished = os.environ.get(VARIABLE)
    if wished:
        try:
            return Accelerator(wished)
        except ValueError as error:
            raise LabError(f"{VARIABLE} is neither tcg nor kvm: {wished}") from error
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Accelerator.TCG
    verdict = built / "accelerator"
    circumstances = f"{os.uname().release} {qemu_version()}"
    if verdict.exists():
        choice, _, known = verdict.read_text().partition(" ")
        if known == circumstances:
            return Accelerator(choice)
    choice = _try_kvm(built).value
    verdict.write_text(f"{choice} {circumstances}")
    return Accelerator(choice)


def _try_kvm(built: Path) -> Accelerator:
    # A nested /dev/kvm may be there and yet hang a guest without a word.
    with step("trying KVM"):
        try:
            boot_image(built, Machine(Accelerator.KVM), boot_seconds=PROBE_SECONDS).close()
        except GuestDiedError:
            return Accelerator.TCG
        return Accelerator.KVM
