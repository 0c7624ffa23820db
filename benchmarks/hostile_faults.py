"""Commands that are killed, or whose system calls fail, wherever they change the output's folder; and two at once."""

from __future__ import annotations

import collections
import dataclasses
import errno
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hostile_commands import COMMANDS, Command, contents, make_model, make_source, meaning
from hostile_runs import Ran, Running, complaint, run

__all__ = ["BLOWS", "faulted", "opened_outside", "raced"]

BLOWS: Mapping[str, str] = {
    "SIGKILL": "signal=KILL",
    "SIGINT": "signal=INT",
    "ENOSPC": "error=ENOSPC",
    "EIO": "error=EIO",
}
_CALLS = (
    "openat,open,creat,write,pwrite64,writev,pwritev,ftruncate,truncate,rename,renameat,renameat2,unlink,unlinkat,fsync,"
    "fdatasync,fallocate,copy_file_range,sendfile,linkat,fchmod,fchmodat,chmod,mkdir,mkdirat,rmdir"
)
_REMOVING = ("unlink", "unlinkat", "rmdir")
_OPENING = ("openat", "open", "creat")
_LIMIT = 120.0
_TRIES = 4
_RUN = [sys.executable, "-m", "domino_onnx"]
_CONVERT = COMMANDS["convert"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """A command on a source, the files of its folder before and after an undisturbed run, and the source's own.

    `goes_on` has what is wrong with the next run, by the files that it found.
    """

    command: Command
    source: Path
    place: Path
    before: Mapping[str, bytes]
    after: Mapping[str, bytes]
    given: Mapping[str, bytes]
    goes_on: dict[frozenset[tuple[str, bytes]], str | None]

    def run(self, *tracing: str) -> Ran:
        return run(*self.command.words(self.source, self.place), limit=_LIMIT, tracing=tracing, forks=True)


def faulted(folder: Path, *, name: str, blow: str, over: bool) -> Iterator[tuple[str, str, str | None]]:
    """Each point at which the blow falls, and what is wrong afterwards.

    Each output is the old one or the new one, whole; the input is as it was; a command that fails leaves nothing else
    behind; and the next one comes to the same end as if nothing had been.
    """
    if "finetune" in name:
        importlib.import_module("domino_onnx.finetuning")  # and torch, which a forked command has then
    source, older = make_source(folder / "new", 1), make_source(folder / "old", 2)
    command, place, log = COMMANDS[name], folder / "out", folder / "log"
    place.mkdir()
    if over:
        run(*command.words(older, place), limit=_LIMIT)
    before = contents(place)
    undisturbed = run(*command.words(source, place), limit=_LIMIT)
    if undisturbed.code:
        raise RuntimeError(f"{name} fails without any fault: {undisturbed.err}")
    after = contents(place)
    scene = _Scene(
        command=command, source=source, place=place, before=before, after=after, given=contents(source), goes_on={}
    )
    points = _points(scene, log)
    for position in range(len(points)):
        for _ in range(_TRIES):
            call, number, thread = points[min(position, len(points) - 1)]
            _refill(place, before)
            others = [] if thread == "main" else ["-f"]
            inject = f"inject={call}:{BLOWS[blow]}:when={number}"
            ran = scene.run("-qq", *others, "-y", "-e", f"trace={call}", "-e", inject, "-o", str(log))
            if _has_hit(log, place) and (blow != "SIGKILL" or ran.code == -signal.SIGKILL):
                break
            points = _points(scene, log)  # how often files of the system are opened differs from run to run
        else:
            yield f"{call} {number}", "missed", None
            continue
        yield f"{call} {number}", "failed" if ran.code else "went on", _what_is_wrong(scene, ran, blow, call)


def raced(folder: Path, turn: int) -> str | None:
    """Two commands write one output at once. It is wrong if that is neither the one's nor the other's."""
    sources = [folder / name for name in ("left", "right")]
    for seed, source in enumerate(sources):
        source.mkdir(parents=True)
        make_model(source / "model.onnx", seed)
    place, output = folder / "out", "written.onnx"
    wanted = []
    for source in sources:
        _refill(place, {})
        run(*_CONVERT.words(source, place))
        wanted.append(meaning(output, contents(place)))
    _refill(place, {})
    order = sources if turn % 2 else sources[::-1]
    running = [Running(*_CONVERT.words(source, place)) for source in order]
    ends = [command.ended() for command in running]
    now = meaning(output, contents(place))
    complaints = [said for end in ends if (said := complaint(end)) is not None]
    if complaints or now not in wanted or all(end.code for end in ends):
        return f"{complaints}, codes {[end.code for end in ends]}, {now}"
    left = sorted(path.name for path in place.iterdir())
    known = {output} | {name for name in left if name.startswith("written") and name.endswith(".data")}
    return None if len(left) <= 2 and set(left) <= known else f"left {left}"


def opened_outside(source: Path, secret: Path, log: Path) -> str | None:
    """Whether `inspect` opens a file that a model names as its data, outside its folder."""
    words = ["strace", "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", str(log), *_RUN, "inspect", str(source)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    if "Traceback" in ran.stderr or ran.returncode not in (0, 1):
        return f"exit code {ran.returncode}: {ran.stderr[-150:]}"
    outside = ("/etc/passwd", "/dev/zero", "/proc/self/environ", secret.name)
    opened = (line for line in log.read_text(errors="replace").splitlines() if " = -1 " not in line)
    bad = [line for line in opened if any(f'{name}"' in line for name in outside)]
    return bad[0] if bad else None


def _points(scene: _Scene, log: Path) -> list[tuple[str, int, str]]:
    """Calls that change something in the folder: the name, how many of it its thread has made, and which thread."""
    _refill(scene.place, scene.before)
    tracing = ("-f", "-qq", "-y", "-e", f"trace={_CALLS}", "-o", str(log))
    traced = Running(*scene.command.words(scene.source, scene.place), tracing=tracing)
    main, _ = str(traced.process), traced.ended(_LIMIT)
    seen: collections.Counter[tuple[str, str]] = collections.Counter()
    found = []
    for line in log.read_text(errors="replace").splitlines():
        call = re.match(r"^(\d+)\s+(\w+)\((.*)", line)
        if call is None or call[2] not in _CALLS.split(","):
            continue
        thread, name, arguments = call.groups()
        seen[thread, name] += 1
        if _changes(name, arguments, scene.place) and re.search(rf"/\.?{scene.command.at}", arguments):
            found.append((name, seen[thread, name], "main" if thread == main else thread))
    return found


def _changes(name: str, arguments: str, place: Path) -> bool:
    reads = name in _OPENING and not re.search(r"O_(WRONLY|RDWR|CREAT)", arguments)
    return str(place) in arguments and not reads


def _has_hit(log: Path, place: Path) -> bool:
    """Whether the blow fell on a call in this folder; the last one of a process that was killed."""
    text, signal_came, _ = log.read_text(errors="replace").partition("--- SIGINT")
    lines = [line for line in text.splitlines() if "(" in line and not line.startswith("+")]
    hit = [] if signal_came else [line for line in lines if "(INJECTED)" in line]
    return any(str(place) in line for line in hit or lines[-1:])


def _what_is_wrong(scene: _Scene, ran: Ran, blow: str, call: str) -> str | None:
    now = contents(scene.place)
    wrong = _what_is_torn(scene, now) or (None if blow == "SIGKILL" else _what_is_amiss(scene, ran, blow, call, now))
    return wrong or _what_the_next_run_meets(scene, now)


def _what_the_next_run_meets(scene: _Scene, now: Mapping[str, bytes]) -> str | None:
    """Another run comes to the same end. It is tried once for each state of the folder."""
    state = frozenset(now.items())
    if state not in scene.goes_on:
        again = scene.run()
        then = contents(scene.place)
        same = again.code == 0 and then.keys() == scene.after.keys()
        scene.goes_on[state] = None if same else f"the next run: {again.err[-200:]}, and {sorted(then)}"
    return scene.goes_on[state]


def _what_is_torn(scene: _Scene, now: Mapping[str, bytes]) -> str | None:
    """Whatever happens, each output is the old one or the new one, and the input as it was."""
    if contents(scene.source) != dict(scene.given):
        return "the input changed"
    for name in _outputs(scene):
        if not _is_whole(name, now, scene.before, scene.after):
            return f"{name} is neither the old one nor the new one: {sorted(now)}"
    return None


def _what_is_amiss(scene: _Scene, ran: Ran, blow: str, call: str, now: Mapping[str, bytes]) -> str | None:
    """A command that comes to an end by itself says what happened, and leaves nothing half done."""
    said = complaint(ran, interrupted=blow == "SIGINT") or _what_is_not_said(scene, ran, blow)
    if said is not None:
        return said
    if not ran.code and not all(_is_whole(name, now, scene.after) for name in _outputs(scene)):
        return f"exit code 0 with {sorted(now)}, of which not all is new"
    known = {*scene.before, *scene.after}
    left = sorted(name for name in now if name not in known and not _kept(scene.command, name))
    folder = scene.place / (scene.command.keeps or "nothing")
    stays = blow != "SIGINT" and call in _REMOVING  # since the system doesn't remove it
    if folder.exists() and not any(folder.glob("*.npz")) and not stays:
        left.append(f"{folder.name} without anything to go on from")
    return f"left behind: {left}" if left else None


def _outputs(scene: _Scene) -> list[str]:
    """Names of all outputs; data files belong to their model."""
    return [name for name in scene.after if not name.endswith(".data")]


def _what_is_not_said(scene: _Scene, ran: Ran, blow: str) -> str | None:
    """An error names the file and what the system said of it."""
    if not ran.code:
        return None
    wanted = ["interrupted"] if blow == "SIGINT" else [str(scene.place), os.strerror(getattr(errno, blow))]
    missing = [each for each in wanted if each not in ran.err]
    return f"{missing} isn't in the message: {ran.err.strip()[-200:]}" if missing else None


def _is_whole(name: str, now: Mapping[str, bytes], *states: Mapping[str, bytes]) -> bool:
    found: Any = meaning(name, now)
    return found in [meaning(name, state) for state in states]


def _kept(command: Command, name: str) -> bool:
    return command.keeps is not None and name.startswith(f"{command.keeps}/")


def _refill(folder: Path, files: Mapping[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
