"""How much memory a process can still get, on trees that Linux, containers and batch systems show."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from domino_onnx.runtime.memory import _vm_stat_memory, available_memory, memory_budget

MIB = 1 << 20
MEMINFO = "MemTotal:       16384000 kB\nMemFree:         1024000 kB\nMemAvailable:    8192000 kB\nCached: 100 kB\n"
MACHINE = 8192000 * 1024
UNLIMITED_V1 = "9223372036854771712\n"


def tree(root: Path, files: Mapping[str, str]) -> Path:
    """A root with ``proc/meminfo`` and these files."""
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def v2(folder: str, limit: str, used: int, stat: str = "") -> dict[str, str]:
    """The files of a group of version 2."""
    return {
        f"sys/fs/cgroup{folder}/memory.max": f"{limit}\n",
        f"sys/fs/cgroup{folder}/memory.current": f"{used}\n",
        f"sys/fs/cgroup{folder}/memory.stat": stat,
    }


def v1(folder: str, limit: str, used: int, stat: str = "") -> dict[str, str]:
    """The files of a group of version 1."""
    return {
        f"sys/fs/cgroup/memory{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"sys/fs/cgroup/memory{folder}/memory.usage_in_bytes": f"{used}\n",
        f"sys/fs/cgroup/memory{folder}/memory.stat": stat,
    }


def test_without_groups_the_machine_says(tmp_path: Path) -> None:
    assert available_memory(tree(tmp_path, {})) == MACHINE


def test_an_old_kernel_tells_what_is_free_or_cached(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/meminfo": "MemTotal: 4000 kB\nMemFree: 1000 kB\nBuffers: 20 kB\nCached: 300 kB\n"})
    assert available_memory(root) == 1320 * 1024


@pytest.mark.parametrize(
    "root_of_machine", [{}, {"proc/self/cgroup": "0::/\n"}, {"proc/self/cgroup": "garbage", "proc/meminfo": MEMINFO}]
)
def test_no_limit_is_none(tmp_path: Path, root_of_machine: dict[str, str]) -> None:
    assert available_memory(tree(tmp_path, root_of_machine)) == MACHINE


class TestVersionTwo:
    """Containers of today, and systemd."""

    def test_its_own_limit_less_what_it_uses(self, tmp_path: Path) -> None:
        files = v2("", str(2048 * MIB), 512 * MIB)
        assert available_memory(tree(tmp_path, {"proc/self/cgroup": "0::/\n", **files})) == 1536 * MIB

    def test_cache_that_the_kernel_gives_back_is_free(self, tmp_path: Path) -> None:
        stat = f"anon {100 * MIB}\ninactive_file {300 * MIB}\nactive_file {80 * MIB}\nslab_reclaimable {20 * MIB}\n"
        files = v2("", str(1024 * MIB), 500 * MIB, stat)
        assert available_memory(tree(tmp_path, {"proc/self/cgroup": "0::/\n", **files})) == 924 * MIB

    def test_the_tightest_of_the_groups_above_counts(self, tmp_path: Path) -> None:
        files = {
            **v2("/user.slice", str(4096 * MIB), 3000 * MIB),
            **v2("/user.slice/job", str(2048 * MIB), 512 * MIB),
            **v2("/user.slice/job/step", "max", 512 * MIB),
        }
        root = tree(tmp_path, {"proc/self/cgroup": "0::/user.slice/job/step\n", **files})
        assert available_memory(root) == 1096 * MIB

    def test_a_throttle_counts_as_a_limit(self, tmp_path: Path) -> None:
        files = {**v2("", "max", 200 * MIB), "sys/fs/cgroup/memory.high": f"{600 * MIB}\n"}
        assert available_memory(tree(tmp_path, {"proc/self/cgroup": "0::/\n", **files})) == 400 * MIB

    def test_a_path_that_the_container_cannot_see_means_what_is_mounted(self, tmp_path: Path) -> None:
        """Docker with the host's group namespace: the path is the host's, the mount is the container's."""
        files = {
            "proc/self/cgroup": "0::/system.slice/docker-0123.scope\n",
            "proc/self/mountinfo": "30 25 0:26 /system.slice/docker-0123.scope /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
            **v2("", str(1024 * MIB), 24 * MIB),
        }
        assert available_memory(tree(tmp_path, files)) == 1000 * MIB

    def test_a_group_outside_the_namespace_means_what_is_mounted(self, tmp_path: Path) -> None:
        files = {"proc/self/cgroup": "0::/../other\n", **v2("", str(1024 * MIB), 24 * MIB)}
        assert available_memory(tree(tmp_path, files)) == 1000 * MIB

    def test_it_is_found_where_it_is_mounted(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "0::/job\n",
            "proc/self/mountinfo": "30 25 0:26 / /my\\040groups rw shared:9 - cgroup2 none rw,nsdelegate\n",
            "my groups/job/memory.max": f"{64 * MIB}\n",
            "my groups/job/memory.current": f"{4 * MIB}\n",
        }
        assert available_memory(tree(tmp_path, files)) == 60 * MIB

    def test_a_group_over_its_limit_leaves_nothing(self, tmp_path: Path) -> None:
        files = v2("", str(100 * MIB), 101 * MIB)
        assert available_memory(tree(tmp_path, {"proc/self/cgroup": "0::/\n", **files})) == 0


class TestVersionOne:
    """Older containers and batch systems."""

    CGROUP = "12:cpu,cpuacct:/a\n5:memory:/slurm/job_7\n1:name=systemd:/user.slice\n"

    def test_the_tightest_of_the_groups_above_counts(self, tmp_path: Path) -> None:
        stat = f"cache 1\ninactive_file 1\ntotal_inactive_file {50 * MIB}\ntotal_active_file {14 * MIB}\n"
        files = {
            **v1("", UNLIMITED_V1.strip(), 9000 * MIB),
            **v1("/slurm", UNLIMITED_V1.strip(), 5000 * MIB),
            **v1("/slurm/job_7", str(1000 * MIB), 464 * MIB, stat),
        }
        assert available_memory(tree(tmp_path, {"proc/self/cgroup": self.CGROUP, **files})) == 600 * MIB

    def test_unlimited_groups_leave_what_the_machine_has(self, tmp_path: Path) -> None:
        files = v1("/slurm/job_7", UNLIMITED_V1.strip(), 464 * MIB)
        assert available_memory(tree(tmp_path, {"proc/self/cgroup": self.CGROUP, **files})) == MACHINE

    def test_both_versions_at_once(self, tmp_path: Path) -> None:
        """systemd's hybrid: version 2 has no memory controller, version 1 has it."""
        files = {
            "proc/self/cgroup": "5:memory:/a\n0::/user.slice\n",
            "proc/self/mountinfo": (
                "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
                "32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                "33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
            ),
            "sys/fs/cgroup/unified/user.slice/cgroup.procs": "",
            **v1("/a", str(300 * MIB), 100 * MIB),
        }
        assert available_memory(tree(tmp_path, files)) == 200 * MIB


def test_a_limit_of_address_space_counts(tmp_path: Path) -> None:
    limits = "Limit                     Soft Limit           Hard Limit           Units\n"
    limits += f"Max address space         {2048 * MIB}           unlimited            bytes\n"
    files = {"proc/self/limits": limits, "proc/self/status": f"Name:\tpython\nVmSize:\t  {512 * 1024} kB\n"}
    assert available_memory(tree(tmp_path, files)) == 1536 * MIB


def test_no_limit_of_address_space_is_none(tmp_path: Path) -> None:
    files = {
        "proc/self/limits": "Max address space         unlimited            unlimited            bytes\n",
        "proc/self/status": "VmSize:\t1000 kB\n",
    }
    assert available_memory(tree(tmp_path, files)) == MACHINE


def test_the_budget_is_what_was_asked_for_or_half_of_what_there_is(tmp_path: Path) -> None:
    root = tree(tmp_path, {})
    assert memory_budget(None, root) == MACHINE // 2
    assert memory_budget(123, root) == 123


def test_vm_stat_of_macos() -> None:
    text = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:                               10.\n"
        "Pages active:                            500.\n"
        "Pages inactive:                           20.\n"
        "Pages speculative:                         3.\n"
        "Pages wired down:                        400.\n"
        "Pages purgeable:                           1.\n"
    )
    assert _vm_stat_memory(text) == 34 * 16384
    assert _vm_stat_memory("") is None


@pytest.mark.skipif(sys.platform not in ("linux", "darwin", "win32"), reason="other systems needn't say")
def test_this_machine_has_some() -> None:
    found = available_memory()
    assert found is not None
    assert 1 * MIB < found < 1 << 50
