"""Which file systems are watched: those that can fill up, each once."""

from __future__ import annotations

import pytest

from services.healer.agent.samplers.filesystems import mount_points

_TYPES = (
    "nodev\tsysfs\nnodev\ttmpfs\nnodev\toverlay\nnodev\tnfs4\n\text4\n\tbtrfs\n\tsquashfs\n\txfs\n"
)


def _mount(device: str, point: str, kind: str, options: str = "rw", more: str = "") -> str:
    return f"36 35 {device} / {point} rw,noatime {more}- {kind} /dev/x {options}"


def _watched(*mounts: str) -> list[str]:
    return sorted(mount_points("\n".join(mounts), _TYPES))


_ROOT = _mount("8:1", "/", "ext4")


@pytest.mark.parametrize("kind", ["squashfs", "iso9660", "udf", "erofs", "cramfs", "romfs"])
def test_images_that_can_only_be_full_are_not_watched(kind: str) -> None:
    snap = _mount("7:3", "/snap/core22/1380", kind, "ro")
    assert _watched(_ROOT, snap, _mount("7:4", "/mnt/cd", kind)) == ["/"]


def test_a_file_system_that_is_read_only_itself_is_not_watched_but_a_view_of_one_is() -> None:
    recovery = _mount("8:2", "/recovery", "ext4", "ro,errors=remount-ro")
    # The agent in a container sees the machine's disk through a mount that may only be read.
    view = f"40 35 8:3 / /host/data ro,relatime master:1 - xfs /dev/x {'rw,attr2'}"
    assert _watched(_ROOT, recovery, view) == ["/", "/host/data"]


def test_subvolumes_of_a_btrfs_and_binds_are_one_file_system() -> None:
    subvolumes = [
        _mount("0:30", "/home", "btrfs", "rw,subvol=/home"),
        _mount("0:30", "/var/lib/machines", "btrfs", "rw,subvol=/machines"),
    ]
    bind = _mount("8:1", "/srv/bind", "ext4")
    assert _watched(bind, _ROOT, *subvolumes) == ["/", "/home"]


def test_file_systems_in_memory_are_watched_but_those_given_to_containers_are_not() -> None:
    given = [
        _mount("0:50", "/var/lib/kubelet/pods/1/volumes/kubernetes.io~secret/t", "tmpfs"),
        _mount("0:51", "/run/user/1000", "tmpfs"),
        _mount("0:52", "/run/credentials/systemd-journald.service", "tmpfs"),
    ]
    here = [_mount("0:40", "/tmp", "tmpfs"), _mount("0:41", "/dev/shm", "tmpfs")]
    assert _watched(_ROOT, *given, *here) == ["/", "/dev/shm", "/tmp"]


def test_others_machines_disks_and_the_kernels_own_are_not_asked() -> None:
    nfs, kernel = _mount("0:60", "/nfs", "nfs4"), _mount("0:21", "/sys", "sysfs")
    assert _watched(_ROOT, nfs, kernel) == ["/"]


def test_the_root_counts_whatever_it_is_and_what_hides_another_counts_alone() -> None:
    overlay = _mount("0:99", "/", "overlay")
    hidden = _mount("8:5", "/data", "ext4")
    over = _mount("8:6", "/data", "xfs", more="shared:7 ")
    spaced = _mount("8:7", "/my\\040disk", "ext4")
    assert _watched(overlay, hidden, over, spaced) == ["/", "/data", "/my disk"]
    assert _watched(overlay, over, hidden) == ["/", "/data"]
