"""``mvdeploy devices``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import click

from mvdeploy import devices, engines, kits, links
from mvdeploy.cli import completion, fleet_options, link_options, options
from mvdeploy.cli.declared_options import declared
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.kits import Kit
from mvdeploy.plugins import Option
from mvdeploy.records import DeviceProfile, codec


def _builds() -> tuple[Option, ...]:
    """Return how engines' own builds for Android are given."""
    return tuple(form.option for plugin in engines.native().values() for form in plugin.android)


@click.command("devices")
@click.argument("action", default="list", type=click.Choice(["list", "doctor", "setup", "clean"]))
@click.argument("device", required=False, metavar="[DEVICE]", shell_complete=completion.devices)
@link_options.devices_dir
@click.option("--rebuild", is_flag=True, help="setup: build the kit even if there is one.")
@click.option(
    "--build",
    "kind",
    type=click.Choice(kits.BUILDS),
    help="setup: which kit: with the C library of Android, for which engines are given below, or "
    "with that of the compiler. Default: android if an engine for it is given, glibc if not.",
)
@declared("builds", _builds())
@fleet_options.cluster()
@click.option("--force", is_flag=True, help="clean: also what a run uses that is going on.")
@link_options.options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.debug
def command(
    action: str,
    device: str | None,
    devices_dir: tuple[Path, ...],
    rebuild: bool,
    kind: str | None,
    builds: dict[str, str],
    force: bool,
    as_json: bool,
    link_options: Mapping[str, str],
    cluster_address: str | None,
    keys: Path | None,
    insecure: bool,
) -> int:
    """List the devices, check what it takes to measure on one, prepare for it, or clean it.

    'mvdeploy devices' lists the profiles and what is attached. 'mvdeploy devices doctor DEVICE'
    goes through every prerequisite, and says how to meet those that are not; it exits with 3 while
    one of them is missing. Without DEVICE it looks at this machine. 'mvdeploy devices setup DEVICE'
    builds the kit that is sent to a phone or a board, and 'mvdeploy devices clean DEVICE' removes
    everything of mvdeploy from one. DEVICE is a profile's name, the serial of an attached phone,
    USER@HOST, or a host of your ssh configuration. 'mvdeploy devices --cluster HOST' lists what a
    cluster has.
    """
    if cluster_address is not None:
        _demand_listing(action, device)
        _list_cluster(cluster_address, keys, insecure, as_json)
        return 0
    if action != "setup" and (rebuild or kind or builds):
        flags = ", ".join(("--rebuild", "--build", *(option.flag for option in _builds())))
        raise UsageError(
            f"{flags} say how a kit is built.",
            "Give them to 'mvdeploy devices setup DEVICE'.",
        )
    if force and action != "clean":
        raise UsageError(
            "--force is for what is removed from a device.",
            "Give it to 'mvdeploy devices clean DEVICE'.",
        )
    if action == "list":
        if device is not None:
            raise UsageError(
                f"The list of devices is not for one of them ('{device}').",
                f"Use 'mvdeploy devices doctor {links.word(device)}' to check what it "
                "takes to measure there.",
            )
        _list(devices_dir, link_options, as_json)
        return 0
    if device is None and action == "doctor":
        device = "host"
    if device is None:
        raise UsageError("No device is named.", "Give its name: 'mvdeploy devices' lists them.")
    profile = links.profile(device, devices_dir, link_options)
    if action == "doctor":
        return _doctor(profile, link_options, as_json)
    if action == "clean":
        _clean(profile, link_options, force, as_json)
    else:
        _prepare(profile, link_options, rebuild, kind, builds, as_json)
    return 0


def _prepare(
    profile: DeviceProfile,
    link_options: Mapping[str, str],
    rebuild: bool,
    kind: str | None,
    builds: dict[str, str],
    as_json: bool,
) -> None:
    """Prepare in the way of the link, or else build a kit."""
    if (kind or builds) and not profile.architecture:
        raise UsageError(
            f"{profile.title} takes no kit.", "Leave --build, and what it is built from, out."
        )
    told = links.setup(profile, link_options, lambda step: click.echo(step, err=True))
    if told is None:
        _setup(profile, rebuild, kind, builds, as_json)
    else:
        click.echo(json.dumps(told, indent=1) if as_json else "\n".join(told))


def _list(devices_dir: tuple[Path, ...], given: Mapping[str, str], as_json: bool) -> None:
    profiles = devices.profiles(devices_dir)
    attached = links.attached(given)
    if as_json:
        body = {"profiles": codec.encode(profiles), "attached": codec.encode(attached)}
        click.echo(json.dumps(body, indent=1))
    else:
        width = max(map(len, profiles))
        for name, described in profiles.items():
            engines = ", ".join(described.engines)
            click.echo(f"{name:<{width}}  {described.title} (link {described.link}; {engines})")
        for device in attached:
            matching = devices.match(device.properties, profiles.values())
            model = device.properties.get("ro.product.model", "")
            profile = f"profile {matching.name}" if matching else ""
            what = ", ".join(filter(None, (model, profile, device.state)))
            click.echo(f"Attached: {device.address} ({what})")
    for problem in devices.problems(devices_dir):
        click.echo(f"Warning: {problem.message}\n{problem.remedy}", err=True)


def _demand_listing(action: str, device: str | None) -> None:
    if action != "list" or device is not None:
        raise UsageError(
            "Of a cluster, devices can only be listed.",
            "Leave --cluster out, and give the command on the machine that has the device.",
        )


def _list_cluster(address: str, keys: Path | None, insecure: bool, as_json: bool) -> None:
    from mvdeploy.pipeline.fleet.executors import cluster

    units = cluster.units_of(cluster.Address(address, keys, insecure))
    if as_json:
        click.echo(json.dumps(codec.encode(units), indent=1))
        return
    for unit in sorted(units, key=lambda one: (one.profile.name, one.name)):
        click.echo(f"{unit.profile.name}  {unit.name}  {unit.profile.title} (on {unit.machine})")
    if not units:
        click.echo("No machine with devices is there: 'mvdeploy worker' offers those of one.")


def _doctor(profile: DeviceProfile, given: Mapping[str, str], as_json: bool) -> int:
    prerequisites = links.doctor(profile, given)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(need) for need in prerequisites], indent=1))
    else:
        width = max((len(need.name) for need in prerequisites), default=0)
        for need in prerequisites:
            click.echo(f"{need.state:<8} {need.name:<{width}}  {need.found}".rstrip())
            if need.remedy:
                click.echo(f"{'':<8} {'':<{width}}  -> {need.remedy}")
        if not prerequisites:
            click.echo("Nothing has to be prepared for this device.")
    missing = any(need.state == "missing" for need in prerequisites)
    return DeviceUnavailable.exit_code if missing else 0


def _clean(profile: DeviceProfile, given: Mapping[str, str], force: bool, as_json: bool) -> None:
    cleaned = links.clean(profile, given, force)
    if as_json:
        body = {
            "folder": cleaned.folder,
            "removed": cleaned.sizes,
            "mode_restored": cleaned.mode_restored,
        }
        click.echo(json.dumps(body, indent=1))
    else:
        total = sum(cleaned.sizes.values())
        if cleaned.sizes:
            click.echo(f"{total / 1e6:.1f} MB removed from {cleaned.folder} on {profile.title}:")
        elif cleaned.problem is None:
            click.echo(f"Nothing of mvdeploy is in {cleaned.folder} on {profile.title}.")
        width = max(map(len, cleaned.sizes), default=0)
        for name, size in cleaned.sizes.items():
            click.echo(f"  {name:<{width}}  {size / 1e6:.1f} MB")
        if cleaned.mode_restored:
            click.echo("Fixed-performance mode, which a run had left on, was switched off.")
    if cleaned.problem is not None:
        raise cleaned.problem


def _setup(
    profile: DeviceProfile,
    rebuild: bool,
    kind: str | None,
    builds: dict[str, str],
    as_json: bool,
) -> None:
    from mvdeploy.kits import build

    if not profile.architecture:
        raise UsageError(
            f"{profile.title} needs no kit.",
            f"Use 'mvdeploy devices doctor {links.typed(profile)}' to see what it takes.",
        )
    kind, why = _kind(profile, kind, builds)
    click.echo(f"{kind} build, {why}", err=True)
    android = build.android(builds, wanted=kind == kits.ANDROID)
    folder, kit = build.kit(
        profile.architecture,
        android,
        rebuild=rebuild,
        on_step=lambda step: click.echo(step, err=True),
    )
    for engine, (there, here) in kits.other_versions(kit).items():
        click.echo(
            f"Warning: the kit has {engine} {there}, and files are verified with {here} here. "
            "Results will say so.",
            err=True,
        )
    if as_json:
        click.echo(json.dumps({"folder": str(folder), **codec.encode(kit)}, indent=1))
        return
    size = sum((folder / name).stat().st_size for name in kit.sums)
    engines = ", ".join(f"{name} {version}" for name, version in kit.engines.items())
    click.echo(f"{folder}")
    click.echo(f"  {kit.architecture}, {kit.build} build, {size / 1e6:.1f} MB: {engines}")
    for source in kit.sources:
        click.echo(f"  from {source.name} {source.version} {source.sha256[:16]}".rstrip())
    _tell_choice(profile, kit)


def _kind(profile: DeviceProfile, asked: str | None, builds: Mapping[str, str]) -> tuple[str, str]:
    """Return which build of a kit is made, and why."""
    flags = ", ".join(option.flag for option in _builds() if option.name in builds)
    if asked == kits.GLIBC and builds:
        raise UsageError(
            f"{flags} gives engines for Android, and --build glibc asks for the others.",
            f"Leave {flags} out, or give --build android.",
        )
    if asked:
        kind, why = asked, "as --build says"
    elif builds:
        kind, why = kits.ANDROID, f"as {flags} gives engines for it"
    else:
        kind, why = kits.GLIBC, "as no engines for Android are given"
    if kind not in links.builds(profile):
        raise UsageError(
            f"{profile.title} does not run the {kind} build of a kit.",
            f"Leave {flags or '--build'} out.",
        )
    return kind, why


def _tell_choice(profile: DeviceProfile, kit: Kit) -> None:
    """Tell which kit is used on the device when there are several."""
    runs = links.builds(profile)
    there = [build for build in runs if build == kit.build or build in kits.others(kit, runs)]
    for build in there[1:]:
        click.echo(
            f"  There are two kits for it: a run takes the {there[0]} build if that has its "
            f"engines, and the {build} build otherwise, or with --kit {build}."
        )
