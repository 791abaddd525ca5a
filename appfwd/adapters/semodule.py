"""The module store, through semodule(8) in a subprocess (libsemanage would hold the GIL)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from appfwd.errors import Busy, PolicyLoadFailed, PolicyUnsupported

log = logging.getLogger(__name__)

MODULE = "appfwd"
PRIORITY = "400"
_LOCKED = "direct transaction lock"
#: libsepol before 3.6 (cil_build_ast.c).
_NO_DENY = "Unknown keyword deny"
_NO_MODULE = "Unable to remove module"
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_LABEL = "security.selinux"


class Semodule:
    """Installs and removes our module; each run rebuilds and loads the whole policy.

    ``folder`` takes the CIL file. ``patience`` (seconds) is how long a lock that somebody else
    holds is waited for; semodule itself gives up after 5 s.
    """

    def __init__(
        self,
        folder: Path = Path("/var/lib/appfwd/policy"),
        store: Path = Path("/var/lib/selinux"),
        command: str = "semodule",
        patience: float = 120.0,
    ) -> None:
        self._folder, self._store, self._command = folder, store, command
        self._patience = patience

    async def install(self, text: str) -> None:
        """Install ``text`` as our module and load the policy.

        Raises:
            PolicyLoadFailed: semodule failed; the old policy is in force.
            PolicyUnsupported: it cannot build what is asked for.
            Busy: another program held the store all the time.

        """
        path = self._folder / f"{MODULE}.cil"
        try:
            await asyncio.to_thread(self._write, path, text)
        except OSError as error:
            msg = f"The policy module could not be written to {path}: {error.strerror}."
            raise PolicyLoadFailed(msg) from error
        await self._run(["-X", PRIORITY, "-i", str(path)])

    async def remove(self) -> None:
        """Remove our module, where it is installed, and load the policy.

        Raises:
            PolicyLoadFailed, Busy: as for install.

        """
        await self._run(["-X", PRIORITY, "-r", MODULE])

    def _write(self, path: Path, text: str) -> None:
        """Write the file where semodule's own domain may read and map it.

        It runs as semanage_t, which may map few types; the store's own is one of them.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(text, "ascii")
        try:
            label = os.getxattr(self._store, _LABEL)
            for target in (path.parent, fresh):
                if os.getxattr(target, _LABEL) != label:
                    os.setxattr(target, _LABEL, label)
        except OSError as error:
            log.warning("could not label %s like the module store: %s", fresh, error)
        fresh.replace(path)

    async def _run(self, arguments: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        while True:
            code, output = await self._once(arguments)
            if code == 0:
                return
            if _LOCKED not in output:
                break
            if loop.time() > end:
                msg = "Another program holds the SELinux module store; try again when it is done."
                raise Busy(msg)
        if _NO_DENY in output:
            msg = (
                "Fences need deny rules, which the policy tools of this system do not know: "
                "libsepol 3.6 or later is needed. Nothing was changed."
            )
            raise PolicyUnsupported(msg)
        log.error("semodule %s failed: %s", " ".join(arguments), output.strip()[-2000:])
        msg = (
            "semodule could not build the policy; the old one is in force. "
            "'journalctl -u appfwd' has its words; is the disk full?"
        )
        raise PolicyLoadFailed(msg)

    async def _once(self, arguments: Sequence[str]) -> tuple[int, str]:
        try:
            process = await asyncio.create_subprocess_exec(
                self._command,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=_ENVIRONMENT,
            )
        except OSError as error:
            msg = f"{self._command} cannot be run ({error.strerror}); install policycoreutils."
            raise PolicyLoadFailed(msg) from error
        output, _ = await process.communicate()
        text = output.decode("utf-8", "replace")
        if process.returncode and _NO_MODULE in text and "-r" in arguments:
            return 0, text
        return process.returncode or 0, text
