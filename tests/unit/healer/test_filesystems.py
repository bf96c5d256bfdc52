"""Tests of which file systems are watched: those that can fill up, each once."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.healer.agent import mounts
from services.healer.agent.samplers import filesystems
from services.healer.agent.samplers.filesystems import Room, mount_points, of_a_pool

_TYPES = (
    "nodev\tsysfs\nnodev\ttmpfs\nnodev\toverlay\nnodev\tnfs4\n\text4\n\tbtrfs\n\tsquashfs\n\txfs\n"
)


def _mount(device: str, point: str, kind: str, options: str = "rw", more: str = "") -> str:
    return f"36 35 {device} / {point} {options[:2]},noatime {more}- {kind} /dev/x {options}"


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


STOPPED = {
    "older kernels": "41 35 8:4 / /srv rw,relatime - ext4 /dev/x ro,errors=remount-ro",
    "newer kernels": "42 27 8:4 / /srv rw,relatime - ext4 /dev/x rw,errors=remount-ro,emergency_ro",
}
NOT_STOPPED = {
    "writable": "41 35 8:4 / /srv rw,relatime - ext4 /dev/x rw,errors=remount-ro",
    "by somebody": "41 35 8:4 / /srv ro,relatime - ext4 /dev/x ro",
    "a view": "41 35 8:4 / /srv ro,relatime - ext4 /dev/x rw",
}


@pytest.mark.parametrize("line", [*STOPPED.values(), *NOT_STOPPED.values()], ids=str)
def test_what_the_kernel_made_read_only_is_told_and_still_watched(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = line in STOPPED.values()
    assert mounts.stopped(f"{_ROOT}\n{line}\nodd") == ({"/srv"} if ended else set())
    if ended:
        assert _watched(_ROOT, line) == ["/", "/srv"]
    table, types = tmp_path / "mountinfo", tmp_path / "filesystems"
    table.write_text("\n".join([_ROOT, line.replace("/srv", str(tmp_path)), ""]))
    types.write_text(_TYPES)
    monkeypatch.setattr(mounts, "_TABLE", table)
    monkeypatch.setattr(filesystems, "_TYPES", types)
    readings = filesystems.FileSystems().sample()
    told = {each.labels["mount"]: each.value for each in readings if each.item == "fs.readonly"}
    assert told.pop("/") == 0
    watched = line != NOT_STOPPED["by somebody"]
    assert told == ({str(tmp_path): float(ended)} if watched else {})


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


def test_datasets_of_a_pool_are_one_disk_and_one_with_a_quota_is_its_own() -> None:
    datasets = [
        f"36 35 0:{n} / /{name} rw - zfs {name} rw,xattr"
        for n, name in enumerate(("tank", "tank/home", "other", "tank/ro"), 70)
    ]
    found = mount_points("\n".join([_ROOT, *datasets[:3]]), _TYPES)
    assert found == {"/": "", "/tank": "tank", "/tank/home": "tank", "/other": "other"}
    home, root, quota = Room("/tank/home", 60, 10), Room("/tank", 20, 10), Room("/tank/q", 9, 1)
    assert of_a_pool([home, root, quota]) == [Room("/tank", 80, 10), quota]
    assert of_a_pool([quota]) == [quota]
    assert of_a_pool([Room("/a", 5, 0), Room("/b", 7, 0)]) == [Room("/a", 12, 0)]


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


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"], ids=ascii)
def test_a_mount_point_with_an_end_of_line_in_its_name_hides_no_other(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / f"a{end}b"
    odd.mkdir()
    table, types = tmp_path / "mountinfo", tmp_path / "filesystems"
    found = [_ROOT, _mount("8:9", str(odd), "ext4"), _mount("8:5", str(tmp_path), "ext4")]
    table.write_bytes("\n".join([*found, ""]).encode())
    types.write_text(_TYPES)
    monkeypatch.setattr(mounts, "_TABLE", table)
    monkeypatch.setattr(filesystems, "_TYPES", types)

    readings = filesystems.FileSystems().sample()

    assert len([each for each in readings if each.item == "df.bytes.used.percent"]) == 3
