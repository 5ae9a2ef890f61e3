"""Stands in for ``xcrun``, ``devicectl`` and ``xcodebuild``, with one phone that is a folder.

The folder is named by ``MVDEPLOY_STAND_IN_PHONE``. In it ``phone.json`` says how the phone is and
what is to go wrong, ``container`` is the data container of its one app, and ``commands.log`` keeps
what was asked. Run as a program it is ``programs.py NAME ARGUMENT...``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

IDENTIFIER = "11111111-2222-3333-4444-555555555555"
UDID = "00008101-000A11110000001E"
BUNDLE = "com.coremltools.modelrunnerd"

NEW = {
    "tunnel": "connected",
    "paired": "paired",
    "developer_mode": "enabled",
    "ios": "17.5.1",
    "model": "iPhone13,2",
    "reality": "mvdeploy stand-in",
    "faults": {},
}


def phone(folder: Path) -> dict:
    return json.loads((folder / "phone.json").read_text())


def save_phone(folder: Path, state: dict) -> None:
    part = folder / f"phone.{os.getpid()}"
    part.write_text(json.dumps(state))
    part.rename(folder / "phone.json")


class Refused(Exception): ...


def main(name: str, words: list[str], folder: Path) -> int:
    with (folder / "commands.log").open("a") as file:
        file.write(" ".join([name, *words]) + "\n")
    if name == "xcrun" and words == ["--find", "devicectl"]:
        print(folder / "developer" / "devicectl")
        return 0
    if name == "xcrun":
        name, words = words[0], words[1:]
    try:
        if name == "xcodebuild":
            return xcodebuild(words, folder)
        return devicectl(words, folder)
    except Refused as refused:
        print(f"ERROR: {refused}", file=sys.stderr)
        return 1


def xcodebuild(words: list[str], folder: Path) -> int:
    if words == ["-version"]:
        print("Xcode 16.2\nBuild version 16C5032a")
        return 0
    settings = dict(word.split("=", 1) for word in words if "=" in word and word[0] != "-")
    if phone(folder)["faults"].get("unsigned") or "DEVELOPMENT_TEAM" not in settings:
        print('note: building\nerror: No Account for Team "ABCDE12345". Add a new account.')
        return 65
    app = Path(settings["SYMROOT"]) / "Release-iphoneos" / "modelrunnerd.app"
    app.mkdir(parents=True)
    return 0


def devicectl(words: list[str], folder: Path) -> int:
    flags = {"-d": "", "-j": "", "--json-output": "", "--source": "", "--destination": ""}
    for place, word in enumerate(words):
        if word in flags:
            flags[word] = words[place + 1]
    command = " ".join(word for word in words[:3] if not word.startswith("-"))
    state = phone(folder)
    result = answer(command, flags, words, state, folder)
    target = flags["-j"] or flags["--json-output"]
    if target:
        Path(target).write_text(json.dumps({"info": {"outcome": "success"}, "result": result}))
    return 0


def answer(command: str, flags: dict, words: list[str], state: dict, folder: Path) -> dict:
    if command == "list devices":
        return {"devices": [] if state["tunnel"] == "absent" else [entry(state)]}
    if command == "device info details" and state["faults"].get("wakes"):
        save_phone(folder, {**state, "tunnel": "connected"})
        return {}
    if flags["-d"] != IDENTIFIER or state["tunnel"] != "connected":
        raise Refused("The specified device was not found. (com.apple.dt.CoreDeviceError 1000)")
    if command == "device info processes":
        return {"runningProcesses": processes(folder)}
    if command == "device process terminate":
        os.kill(int(words[words.index("--pid") + 1]), signal.SIGKILL)
        return {}
    if command == "device install app":
        if not Path(words[-3]).is_dir():
            raise Refused(f"{words[-3]} is no app.")
        return {"installedApplications": [{"bundleID": BUNDLE, "databaseUUID": "1"}]}
    if command == "device process launch":
        launch(state, folder)
    return copy(command, flags, folder)


def copy(command: str, flags: dict, folder: Path) -> dict:
    source, destination = flags["--source"], flags["--destination"]
    container = folder / "container"
    if command == "device copy to":
        target = container / destination
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}")
        # As one step: the app looks for messages all the time.
        (shutil.copytree if Path(source).is_dir() else shutil.copyfile)(source, part)
        part.rename(target)
    else:
        if not (container / source).is_file():
            raise Refused("The file does not exist.")
        shutil.copyfile(container / source, destination)
    return {"source": source, "destination": destination}


def launch(state: dict, folder: Path) -> None:
    if state["faults"].get("locked"):
        raise Refused("Unable to launch because the device was not, or could not be, unlocked.")
    shutil.rmtree(folder / "container", ignore_errors=True)
    (folder / "app.pid").write_text(str(os.getpid()))
    if "MVDEPLOY_STAND_IN_SERVER" in os.environ:
        run_warm(folder)
    python = os.environ["MVDEPLOY_STAND_IN_PYTHON"]
    app = Path(__file__).with_name("model_runner.py")
    os.execv(python, [python, str(app), str(folder)])


def run_warm(folder: Path) -> NoReturn:
    """Have the app run in a process that has imported everything; it ends when this one does."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ["MVDEPLOY_STAND_IN_SERVER"])
        asked = {"app": str(folder), "words": [], "environment": dict(os.environ)}
        socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2])
        sys.exit(int(server.recv(16) or b"99"))


def processes(folder: Path) -> list[dict]:
    here = folder / "app.pid"
    if not here.exists() or not Path(f"/proc/{here.read_text()}").exists():
        return []
    path = "file:///private/var/containers/Bundle/modelrunnerd.app/modelrunnerd"
    other = {"executable": "file:///sbin/launchd", "processIdentifier": 1}
    return [other, {"executable": path, "processIdentifier": int(here.read_text())}]


def entry(state: dict) -> dict:
    return {
        "identifier": IDENTIFIER,
        "connectionProperties": {
            "pairingState": state["paired"],
            "transportType": "wired",
            "tunnelState": state["tunnel"],
        },
        "deviceProperties": {
            "name": "mvdeploy stand-in phone",
            "osVersionNumber": state["ios"],
            "osBuildUpdate": "21F90",
            "developerModeStatus": state["developer_mode"],
        },
        "hardwareProperties": {
            "cpuType": {"name": "arm64e"},
            "deviceType": "iPhone",
            "marketingName": "mvdeploy stand-in iPhone 12",
            "platform": "iOS",
            "productType": state["model"],
            "reality": state["reality"],
            "udid": UDID,
        },
    }


if __name__ == "__main__":
    phone_folder = Path(os.environ["MVDEPLOY_STAND_IN_PHONE"])
    sys.exit(main(sys.argv[1], sys.argv[2:], phone_folder))
