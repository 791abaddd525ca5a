"""The guest's disk, kernel and initial RAM disk, made from Debian packages."""

import shutil
from enum import Enum
from pathlib import Path

from .cache import content_key, publish
from .errors import LabError
from .host import Mirror, check_tools, command, debian_mirror, step, tool
from .modules import removable_modules
from .optionals import shrink_store

HERE = Path(__file__).parent
SUITE = "trixie"
DISK_SIZE = "3G"
LAB_PRIORITY = "100"
# What a test guest has no reader for, and the drivers of 3D graphics that Xvfb's packages bring.
LEFT_OUT = [
    *("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"),
    *(f"/usr/lib/x86_64-linux-gnu/{name}" for name in ("libLLVM*", "libgallium*", "libz3*")),
]
# People who may log in, with their numbers.
PEOPLE = {"alice": 1000, "bob": 1001}
NO_INITRD_HOOK = (
    "mkdir -p $1/etc/initramfs-tools && "
    "echo update_initramfs=no > $1/etc/initramfs-tools/update-initramfs.conf"
)
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Fixed, so that systemd doesn't take each guest's start for its first.
MACHINE_ID = "a99f3d1ab00000000000000000000001"


class Policy(Enum):
    """How much of the distribution's policy a guest has."""

    SMALL = "small"
    """The modules of policy-modules.txt and what they need: semodule is ten times as fast."""
    FULL = "full"
    """All of it."""


def image(policy: Policy = Policy.SMALL) -> Path:
    """Return the directory with `root.img`, `vmlinux` and `initrd`, made if it isn't cached."""
    key = content_key(
        _rootfs_key(),
        policy.value,
        *(HERE / name for name in ("image.py", "modules.py", "optionals.py", "policy-modules.txt")),
        HERE / "guestfs",
        HERE / "agent",
    )
    return publish("image", key, lambda draft: _make_image(draft, policy))


def _rootfs_key() -> str:
    return content_key(HERE / "guest-packages.txt", SUITE, DISK_SIZE, *LEFT_OUT)


def _lines(file: Path) -> list[str]:
    """Return a list's words; what follows a # is a comment."""
    return [word for line in file.read_text().splitlines() for word in line.split("#")[0].split()]


def _make_rootfs(draft: Path) -> None:
    check_tools()
    mirror = debian_mirror()
    with step("installing Debian packages"):
        command(
            [
                tool("mmdebstrap"),
                "--variant=minbase",
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
                "--dpkgopt=force-unsafe-io",
                "--dpkgopt=force-confold",
                # The guest's initial RAM disk is our own.
                f"--essential-hook={NO_INITRD_HOOK}",
                f"--include={','.join(_lines(HERE / 'guest-packages.txt'))}",
                SUITE,
                draft / "rootfs.tar",
                _source_line(mirror),
            ]
        )


def _source_line(mirror: Mirror) -> str:
    options = f" [signed-by={mirror.keyring}]" if mirror.keyring else ""
    return f"deb{options} {mirror.uri} {SUITE} main"


def _make_image(draft: Path, policy: Policy) -> None:
    check_tools()
    rootfs = publish("rootfs", _rootfs_key(), _make_rootfs)
    root = draft / "root"
    root.mkdir(mode=0o755)
    with step("unpacking the root file system"):
        command(["tar", "-xpf", rootfs / "rootfs.tar", "--numeric-owner", "-C", root])
    _extract_kernel(root, draft / "vmlinux")
    _make_initrd(root, draft)
    _configure(root)
    with step(f"compiling the {policy.value} policy"):
        _install_policy(root, policy)
    with step("labelling files and making the disk"):
        contexts = "/etc/selinux/default/contexts/files/file_contexts"
        # The guest's own setfiles: an older one may not know a newer policy's file.
        command(["chroot", root, "/usr/sbin/setfiles", "-F", contexts, "/"])
        command([tool("mke2fs"), "-q", "-t", "ext4", "-d", root, draft / "root.img", DISK_SIZE])
    shutil.rmtree(root)


def _extract_kernel(root: Path, target: Path) -> None:
    """Unpack the kernel: an emulated processor would take a second for it at each start."""
    packed = next((root / "boot").glob("vmlinuz-*")).read_bytes()
    start = packed.index(ZSTD_MAGIC)
    # Behind the compressed kernel there is more, at which zstd fails after it has written all.
    script = 'zstd -dcq > "$0" 2> /dev/null || test -s "$0"'
    command(["sh", "-c", script, target], stdin=packed[start:])


def _make_initrd(root: Path, draft: Path) -> None:
    tree = draft / "initrd-tree"
    for name in ("bin", "dev", "newroot"):
        (tree / name).mkdir(parents=True)
    shutil.copy(tool("busybox"), tree / "bin/busybox")
    shutil.copy(HERE / "guestfs/initrd-init.sh", tree / "init")
    (tree / "init").chmod(0o755)
    driver = next(root.glob("usr/lib/modules/*/kernel/drivers/block/virtio_blk.ko*"))
    if driver.suffix == ".xz":
        (tree / "virtio_blk.ko").write_bytes(command([tool("xz"), "-dc", driver]))
    else:
        shutil.copy(driver, tree / "virtio_blk.ko")
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    archive = command([tool("cpio"), "-o", "-H", "newc", "--quiet"], stdin=names.encode(), cwd=tree)
    (draft / "initrd").write_bytes(archive)
    shutil.rmtree(tree)


def _configure(root: Path) -> None:
    """Write the guest's settings, and the lab's own programs and units."""
    lab = root / "usr/lib/appfwd-lab"
    units = root / "etc/systemd/system"
    shutil.copytree(HERE / "agent", lab / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "guestfs/network.sh", lab)
    for unit in (HERE / "guestfs").glob("*.service"):
        shutil.copy(unit, units)
        wanted = units / "multi-user.target.wants" / unit.name
        wanted.symlink_to(f"../{unit.name}")
    for name in _lines(HERE / "guestfs/masked-units.txt"):
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    # Their packages enabled them; tests start those that they need.
    command(
        ["chroot", root, "systemctl", "-q", "disable", *_lines(HERE / "guestfs/disabled-units.txt")]
    )
    # They find nothing to make units of here, but take seconds at each boot and reload.
    generators = root / "etc/systemd/system-generators"
    generators.mkdir(exist_ok=True)
    for generator in (root / "usr/lib/systemd/system-generators").iterdir():
        (generators / generator.name).symlink_to("/dev/null")
    for name, number in PEOPLE.items():
        command(["chroot", root, "useradd", "-m", "-u", str(number), "-s", "/bin/bash", name])
    for name, text in _SETTINGS.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(text)
    for old in (root / "boot").iterdir():
        old.unlink()


_SETTINGS = {
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost guest\n::1 localhost\n",
    "etc/fstab": "",
    # systemd-resolved's package makes it a link to a file that is there only while it runs.
    "etc/resolv.conf": "",
    "etc/machine-id": MACHINE_ID + "\n",
    "etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=default\n",
    "etc/systemd/system.conf.d/lab.conf": (
        "[Manager]\nDefaultTimeoutStartSec=300\nDefaultTimeoutStopSec=60\n"
    ),
    "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=persistent\nAudit=no\n",
}


def _install_policy(root: Path, policy: Policy) -> None:
    changes: list[str] = []
    if policy is Policy.SMALL:
        unwanted = removable_modules(root, _lines(HERE / "policy-modules.txt"))
        changes += ["-X", "100", *(word for name in unwanted for word in ("-r", name))]
    module = Path("/root/appfwd_lab.cil")
    inside = root / module.relative_to("/")
    shutil.copy(HERE / "guestfs/appfwd_lab.cil", inside)
    command(["chroot", root, "semodule", "-n", *changes, "-X", LAB_PRIORITY, "-i", module])
    inside.unlink()
    if policy is Policy.SMALL:
        _shrink_sources(root)


def _shrink_sources(root: Path) -> None:
    """Leave out of the sources what makes no difference; LabError if it made one."""
    compiled = next(root.glob("etc/selinux/default/policy/policy.*"))
    before = compiled.read_bytes()
    with (root / "etc/selinux/semanage.conf").open("a") as settings:
        settings.write("\nbzip-blocksize=0\n")
    shrink_store(root)
    command(["chroot", root, "semodule", "-n", "-B"])
    if compiled.read_bytes() != before:
        raise LabError("the policy differs without what should make no difference in its sources")
