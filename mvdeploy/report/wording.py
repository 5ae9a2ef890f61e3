"""Findings in words: what was found, and what to do about it.

A new code needs one entry in the table, or in that of the engine whose profile gives it; a code
without one is shown with its values as they are.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence

from mvdeploy import engines
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.findings import ViewFinding
from mvdeploy.analysis.view import View
from mvdeploy.records import Device, Finding, Level, web
from mvdeploy.stats.paired import RatioEstimate
from mvdeploy.stats.reliability import Grade
from mvdeploy.text_format import clean, significant


@dataclasses.dataclass(frozen=True)
class WordedFinding:
    """A finding as reports print it.

    Attributes:
        level: how much it matters.
        code: what was found.
        subjects: names of the cases it is about; empty for the run as a whole.
        sentence: what was found.
        remedy: what to do; empty when nothing is to be done.
        values: the figures.
    """

    level: Level
    code: str
    subjects: tuple[str, ...]
    sentence: str
    remedy: str
    values: dict[str, str | int | float]


@dataclasses.dataclass(frozen=True)
class FindingGroup:
    """The same finding on several cases.

    Attributes:
        level: how much it matters.
        code: what was found.
        lines: which cases, and what was found of them; none for the run as a whole.
        remedy: what to do; empty when nothing is to be done.
    """

    level: Level
    code: str
    lines: tuple[tuple[str, str], ...]
    remedy: str


NAMED = 2
"""Cases of a run that are called by their names; more are called by their keys."""

_FREE_THE_CORES = (
    "Close other programs, first of all one that is named here, or bind the run to free cores with "
    "--cores, and measure again; judge differences by the paired ratio only."
)

_STEADY = "set its governor with 'cpupower frequency-set -g performance'"
_FED = "have it charged or on mains"

_INSTEAD = {
    "Android": {
        _STEADY: "leave 'fixed_performance' on in its profile",
        _FED: "have its battery full",
    },
    "iOS": {_STEADY: "switch its Low Power Mode off"},
    "macOS": {_STEADY: "switch its Low Power Mode off"},
}
"""Start of the name of a device's system → what is advised there in the place of other words."""

_MORE = "xport the page again with more --web-iterations"
_ON_PAGES = {
    _STEADY: "switch its power saving off",
    "warm up longer with --warmup, and give it more time with --max-time": f"and e{_MORE}",
    "Give it more time with --max-time, and let it finish": f"E{_MORE}, and let it finish",
    "Give it more time with --max-time": f"E{_MORE}",
    "close other programs, or bind the run to free cores with --cores": "or close other programs",
    "Take more samples with --iterations, or give it more time with --max-time": f"E{_MORE}",
    "Take 100 samples or more with --iterations": "Export the page with --web-iterations 100 or "
    "more",
}
"""What is advised where a page measured, which has no options, in the place of other words."""

_WORDS: dict[str, tuple[str, str]] = {
    "parity_failed": (
        "The exported model is numerically broken: on input '{input}' its outputs differ from the "
        "reference by up to {max_abs} (demanded: {demand}).",
        "Do not use this latency; export the model again, and report it with the versions.",
    ),
    "loses_digits": (
        "The exported model is less exact than PyTorch: its error is {times} times that of "
        "rounding, most of it from {module} ({operator}) on input '{input}'.",
        "Nothing is to be done where that is exact enough; it is within what is allowed unless the "
        "check failed.",
    ),
    "outputs_differ": (
        "The outputs were not the same every time: {count} sessions, the first of them number "
        "{session}, computed something else than the run that they were checked in.",
        "Do not rely on single predictions on this device; if the engine promises the same result "
        "every time, report this to its developers.",
    ),
    "outputs_depend_on_threads": (
        "With {threads} threads the outputs are not those of one thread: the engine adds numbers "
        "up in another order.",
        "Use --threads 1 where outputs must be the same to the last bit.",
    ),
    "pipeline_differs": (
        "The whole pipeline says something else of the picture than the file does when it is fed "
        "as 'mvdeploy predict' feeds it: classes {said}, not {wanted}; outputs differ by up to "
        "{percent} % of the largest.",
        "Do not use its times; report this with the file, or the network, and the picture.",
    ),
    "pipeline_failed": (
        "The whole pipeline could not be timed: {reason}.",
        "The latency stands without it.",
    ),
    "first_run_failed": (
        "What the first run costs could not be measured: {reason}.",
        "The latency stands without it.",
    ),
    "stages_cost_time": (
        "Passes with their stages timed take {percent} % more or less than passes without: other "
        "programs disturbed one kind more than the other, or reading the clock costs too much.",
        "Measure again on a machine that is left alone, with more passes (--iterations).",
    ),
    "device_parity_failed": (
        "The device computes something else than the network: on input '{input}' its outputs "
        "differ from the reference by up to {max_abs} (demanded: {demand}).",
        "Do not use this latency; measure with another engine or precision, and report the device "
        "with the version of the engine.",
    ),
    "device_not_judged": (
        "What the device computed for {case} was not compared with PyTorch: {reason}.",
        "Its latency is not affected; make the network available to have its outputs judged.",
    ),
    "not_measured": (
        "Not measured: {precision} on {engine} ({reason}).",
        "Ask for that engine alone to see what it takes.",
    ),
    "emulated_precision": (
        "{case} in {precision} is emulated: {engine} does not compute in it here ({reason}).",
        "Take its latency for what this engine does with such a file, not for that of {precision}.",
    ),
    "changed_code": (
        "{code} is not the code that {file} was exported from (its sha256 differs).",
        "If the outputs are said to differ, look there first: give --model the code as it was, or "
        "export again.",
    ),
    "blind_parity": (
        "The parity check is blind: the reference's outputs hardly depend on the input (spread "
        "{spread}).",
        "Leave --seed at its default.",
    ),
    "random_weights": (
        "The weights are random (seed {seed}): the latency is that of the network, its predictions "
        "mean nothing.",
        "Give a checkpoint with --weights to have predictions that mean something.",
    ),
    "operator_times_estimated": (
        "The times of operators are estimated, not measured: {engine} gives each operator a share "
        "of the cost, and that share of the whole inference is shown.",
        "Compare whole latencies, which are measured; take the shares as the engine's prediction.",
    ),
    "categories_by_table": (
        "Classes of the network declare no categories; they are from tables of names, and from the "
        "data flow.",
        "Read the categories as a classification of another library's modules.",
    ),
    "manifest_of_another_file": (
        "{file} is not the file that its manifest describes (its sha256 differs): it is measured "
        "by what it says of itself.",
        "Remove the manifest if the file was changed on purpose; export the model again if not.",
    ),
    "page_not_isolated": (
        "The page was not isolated: its clock had steps of {step_us} µs, and the engine had one "
        "thread.",
        "For steps of 5 µs open it by https from a server that sends the headers in its file "
        "_headers, or on the machine itself by its serve.py.",
    ),
    "coarse_clock": (
        "The clock had steps of {step_us} µs, which are {percent} % of an inference: neither "
        "percentiles nor intervals are finer than that.",
        "Isolate the page, or measure a larger network.",
    ),
    "clock_too_coarse": (
        "The networks are not compared: a step of the clock ({step_us} µs) is {percent} % of an "
        "inference, and must not be more than {limit} % to tell them apart.",
        "Isolate the page, or measure larger networks or batches.",
    ),
    "unknown_network": (
        "Others exported the file, and which network it came from is not known: its outputs were "
        "not compared with one, and its operators have no categories.",
        "Say which network it is with --model, or compare its outputs with 'mvdeploy verify FILE "
        "--against OTHER'.",
    ),
    "outputs_not_finite": (
        "Its outputs have values that are no finite numbers. Its network is not known, so they "
        "may be right; arithmetic with them can take another time than usual.",
        "Give values that it is made for with --values, or compare its outputs with 'mvdeploy "
        "verify FILE --against OTHER'.",
    ),
    "unknown_images": (
        "How its images are prepared is not known: it was fed them {fed}.",
        "Its latency does not depend on that; for outputs that mean something, say how it was "
        "trained.",
    ),
    "free_dimensions": (
        "The file leaves dimensions of its inputs free; it was fed {inputs}.",
        "Give other sizes with --shape.",
    ),
    "seeded_inputs": (
        "Inputs that are no images were fed seeded values: {inputs}.",
        "Give other ranges with --values, where the work depends on them.",
    ),
    "unknown_modules": (
        "The file does not tell which modules its operators came from.",
        "Read the kinds of operators; torch.onnx.export notes modules in the files that it writes.",
    ),
    "modules_read": (
        "The modules of its operators are read from {source}: {percent} % of the operator time has "
        "one.",
        "Take them for what the file says, which a tool on its way may have changed.",
    ),
    "preempted": (
        "Other programs took the processor: inferences took {ratio} times as long as undisturbed "
        "ones, going by {basis}; below {fine_below} is fine, above {bad_above} unreliable.",
        _FREE_THE_CORES,
    ),
    "preempted_samples": (
        "{percent} % of the inferences lost the processor to other programs on their way; below "
        "{fine_below} % is fine, above {bad_above} % unreliable.",
        _FREE_THE_CORES,
    ),
    "more_threads_than_cores": (
        "More threads than cores: {threads} threads on {cores} of them, where they wait for each "
        "other.",
        "Give as many --threads as it may use cores, or fewer.",
    ),
    "more_threads_than_free_cores": (
        "More threads than free cores: {threads} threads, but other programs or a CPU quota left "
        "{free} of {cores} cores; engines whose threads wait for each other are slower then than "
        "with fewer.",
        "Close the other programs, or give as many --threads as there are free cores.",
    ),
    "environment": (
        "Environment variables that choose kernels or threads were set: {variables}.",
        "Unset them for what engines choose by themselves; results that were taken under others "
        "are not compared.",
    ),
    "engine_versions_differ": (
        "Versions of {engine} differ: the file was {here}, and measured with {there}. Releases "
        "differ in speed, and may differ in what they compute.",
        "Have one version throughout: build the kit from engines of the version that is installed "
        "here, or install that of the kit, and export again.",
    ),
    "cpu_quota": (
        "The CPU quota of its container or service ({cores} cores) stopped this run {how}: "
        "inferences took {ratio} times as long as undisturbed ones, going by {basis}; below "
        "{fine_below} is fine, above {bad_above} unreliable.",
        "Raise the quota (docker run --cpus, CPUQuota= of a unit), or measure outside of it.",
    ),
    "drift": (
        "The median changed by {percent} % from the first half of the samples to the second; below "
        "{fine_below} % is fine, above {bad_above} % unreliable.",
        f"Let the device cool down, {_STEADY}, "
        "warm up longer with --warmup, and give it more time with --max-time.",
    ),
    "steal": (
        "The hypervisor took {percent} % of the processor time for other machines; below "
        "{fine_below} % is fine, above {bad_above} % unreliable.",
        "Measure on a machine of your own, or when the host is idle.",
    ),
    "anchor": (
        "The anchor, a fixed network that runs in between, changed by {percent} % from the start "
        "to the end, so the machine itself did; below {fine_below} % is fine, above {bad_above} % "
        "unreliable.",
        f"Let the device cool down, {_STEADY}, "
        "and measure again; judge differences by the paired ratio only.",
    ),
    "provisional_scales": (
        "The scales of the whole numbers are from {images} variants of one shipped photograph: "
        "they hold for the latency, and say little of the accuracy on images of another kind.",
        "Give images that the network is for, with --calibrate DIR.",
    ),
    "profiler_cost_unknown": (
        "What the profiler of {engine} adds to each operator could not be measured: {reason}.",
        "Shares of small operators may be too large; 'mvdeploy bench --profiler-cost' measures it "
        "again.",
    ),
    "anchor_failed": (
        "The anchor, a fixed network that shows how steady the machine is, did not run: {reason}.",
        "The latencies are not affected; run again with --debug to see the engine's own output.",
    ),
    "throttled": (
        "The device changed its speed while it was measured: {changes}; none of these may change.",
        f"Let the device cool down, {_STEADY}, {_FED}, and measure again.",
    ),
    "unchecked": (
        "Not checked, as the system does not tell or there are too few samples: {signals}.",
        "Watch the device with its own tools while it measures, or judge by paired ratios, whose "
        "cases meet the same conditions.",
    ),
    "wide_interval": (
        "The median is known to ±{percent} % only, even within this run; the target is "
        "±{target} %.",
        "Give it more time with --max-time, close other programs, or bind the run to free cores "
        "with --cores.",
    ),
    "no_interval": (
        "How well the median is known cannot be told from {count} samples; the target is "
        "±{target} %.",
        "Take more samples with --iterations, or give it more time with --max-time.",
    ),
    "wide_ratio": (
        "The ratio is known to ±{percent} % only; the target is ±{target} %.",
        "Give it more time with --max-time, close other programs, or bind the run to free cores "
        "with --cores.",
    ),
    "few_groups": (
        "The sessions in which the cases took turns are too few, or all of one order ({groups} of "
        "them): the ratio's interval counts only the spread within sessions, and is too narrow if "
        "sessions differ.",
        "Give it more time with --max-time, and let it finish.",
    ),
    "views_disagree": (
        "An inference takes {alone} ms alone and {turns} ms in turns, by {clock}: further apart "
        "than any disturbance was seen to bring.",
        "Trust neither: a file of the run may be damaged. Measure again.",
    ),
    "latency_in_turns": (
        "The cases only took turns: their latencies are slightly above what each has alone, as the "
        "first inference after a switch is a little slower.",
        "Compare by the ratio; 'mvdeploy bench' gives the latency that a case has alone.",
    ),
    "few_samples": (
        "{count} samples are too few for {percentiles}, marked with *: they tell little more than "
        "the largest sample does.",
        "Take 100 samples or more with --iterations.",
    ),
    "not_interleaved": (
        "The cases did not take turns: {reason}.",
        "Do not compare their latencies; measure them in one run on one device.",
    ),
    "cpu_time_partial": (
        "CPU times hold only a part of the work, which runs on {threads} threads.",
        "Wall times decide here; with --threads 1, CPU time decides, and smaller differences are "
        "found.",
    ),
    "cpu_time_elsewhere": (
        "The thread that calls the engine waited for other threads most of the time, so that its "
        "CPU time does not hold the work.",
        "Wall times decide here; on a quiet machine they tell smaller differences.",
    ),
    "fused_across_modules": (
        "{percent} % of the operator time is in operators that the engine fused from more than one "
        "module ({count} of them); each counts under the first of its modules.",
        "Take shares of neighbouring modules with that uncertainty.",
    ),
    "unplaced_operators": (
        "{percent} % of the operator time is in operators that could not be placed in a module "
        "({count} of them); it is shown as unattributed.",
        "Look them up in operators.csv; they are usually made by the engine itself.",
    ),
    "operators_exceed_latency": (
        "The operator times add up to {percent} % more than the latency, and were scaled down to "
        "it.",
        "The profiler slows small operators most: take their shares as upper bounds.",
    ),
    "profile_failed": (
        "There is no breakdown, because the profiled run failed: {reason}.",
        "The latency is not affected; run again with --debug to see the engine's own output.",
    ),
    "no_profiler": (
        "There is no breakdown: {reason}.",
        "Measure with another engine for one; the latency is not affected.",
    ),
    "ended_early": (
        "Its measurement ended early: {reason}.",
        "What was measured until then is shown; mend the cause and run the same command again.",
    ),
    "interrupted": (
        "The run ended early, or results are gone; not measured: {cases}.",
        "Run the same command again to measure the rest.",
    ),
    "unfinished": (
        "The run ended before everything was measured; not finished: {what}.",
        "Run the same command again for all of it; what is here is what was measured until then.",
    ),
    "fixed_performance": (
        "Android's fixed-performance mode was on: the clocks are held below the highest.",
        "Compare only with results in the same mode.",
    ),
    "mode_lost": (
        "{device} was restarted while it was measured, and did not enter its fixed-performance "
        "mode again: what came after the gap was measured as apps run.",
        "Compare only what came before the gap with results in that mode.",
    ),
    "mode_left_on": (
        "{device} did not leave its fixed-performance mode.",
        "Restart it, or use 'adb -s SERIAL shell cmd power set-fixed-performance-mode-enabled "
        "false'.",
    ),
    "mode_not_restored": (
        "{device} was gone before its fixed-performance mode could be switched off: it holds its "
        "clocks low until that is done.",
        "Connect it again and use 'mvdeploy devices clean DEVICE', or measure again: both switch "
        "it off, and so does a restart.",
    ),
    "mode_restored": (
        "{device} was still in the fixed-performance mode that a run had switched on which has "
        "ended: it was switched off.",
        "Nothing is to be done; what others measured there meanwhile was measured in that mode.",
    ),
    "no_fixed_performance": (
        "The device has no fixed-performance mode, denied it, or did not answer: its clocks follow "
        "load and heat.",
        "Look at the samples over time, and let it cool down between runs.",
    ),
    "cooled_down": (
        "It was waited for {waited_s} s until the device was cool.",
        "Nothing: this is how it should be.",
    ),
    "hot": (
        "The device was hot when it was measured: thermal status {status}, skin {skin}, after "
        "{waited_s} s of waiting.",
        "Let it cool down, out of its case and off its charger; its profile has the limits.",
    ),
    "heat_by_hand": (
        "The device's thermal status was set by hand: it is taken as unavailable.",
        "Give it back with 'adb shell cmd thermalservice reset', and measure again.",
    ),
    "battery_by_hand": (
        "What the device tells of its battery was set by hand: it is taken as unavailable.",
        "Give it back with 'adb shell dumpsys battery reset', and measure again.",
    ),
    "impossible_heat": (
        "Sensors of the device tell temperatures that cannot be, which count for nothing: "
        "{sensors}.",
        "Watch its other sensors; restart the device if they told better before.",
    ),
    "energy_unavailable": (
        "The energy of an inference is unavailable: {reason}. {remedy}.",
        "Then run again with --energy.",
    ),
    "energy_ended_early": (
        "The energies rest on fewer blocks than were planned: {reason}. {remedy}.",
        "Run again with --energy for intervals that rest on all blocks.",
    ),
    "energy_of_case_unavailable": (
        "The energy of an inference is unavailable: {reason}.",
        "Run again, with longer blocks (--energy-time), and with nothing else that computes there.",
    ),
    "energy_too_small": (
        "An inference takes less than {millijoules} mJ above the device at rest, which is all that "
        "the meter can tell.",
        "Measure with longer blocks (--energy-time), or on a device with a finer meter.",
    ),
    "energy_rest_drifts": (
        "The device took {before} W at rest before the blocks that give the energies, and {after} "
        "W after them: that is much beside the least that a case takes more, {least} W.",
        "Close what else runs there, switch its screen off, let it cool down, and measure again.",
    ),
    "energy_assumed": (
        "What the meter tells was understood by its size: {assumed}.",
        "See whether the power at rest is what such a device takes.",
    ),
    "charging": (
        "The battery was being charged, as it is at a cable: that warms the device.",
        "Measure with a full battery, or over the network.",
    ),
    "screen_on": (
        "The screen was on, which takes power and some work of the processor.",
        "Switch it off before measuring.",
    ),
    "screen_not_set": (
        "The phone's screen did not go {wanted}, as its profile asks for.",
        "Unlock it, or set it by hand before measuring.",
    ),
    "several_browsers": (
        "Several browsers are open on the phone: {taken} was measured, not {others}.",
        "Close the others, or choose with --phone-browser.",
    ),
    "experimental_link": (
        "The link '{link}' is experimental: it was run on no real phone yet.",
        "Tell what became of it, with the run's folder, where mvdeploy is developed.",
    ),
    "may_sleep": (
        "The phone is in the network, on its battery and with its screen off: Android may put it "
        "to sleep while it measures.",
        'Connect it to power, or write screen = "on" in its profile.',
    ),
    "own_runner": (
        "It was measured with a program of your own ({program}): the input is all ones, its first "
        "iterations are the warm-up, and CPU times and memory are not known.",
        "Leave --runner out to measure with mvdeploy's own runner.",
    ),
    "cores_refused": (
        "{device} does not let a program run on the cores {cores}: it ran on {used} instead.",
        "Compare it with no result of other cores; measure again when the device has all of its "
        "cores switched on, or choose some with --cores.",
    ),
    "runner_times_lost": (
        "The device's log kept {told} of the {total} times that your own program told, so that it "
        "was run {runs} times for fewer inferences each, with a warm-up in each.",
        "Ask for fewer with --iterations, or enlarge the log ('adb logcat -G 16M').",
    ),
    "left_behind": (
        "Files were left on {device} in {folder}, as it was gone before they could be removed: "
        "{reason}.",
        "Connect it again and use 'mvdeploy devices clean DEVICE', or measure again, which removes "
        "them too.",
    ),
    "leftovers_removed": (
        "What runs that have ended ({runs}) had left on {device} was removed: {megabytes} MB.",
        "Nothing is to be done.",
    ),
    "not_removed": (
        "Not everything could be removed from {device}: {reason}.",
        "'mvdeploy devices clean DEVICE' says what removes it.",
    ),
    "shared_device": (
        "Another run was on {device} at the same time: {who}.",
        "Measure again when it has ended; judge differences by the paired ratio only.",
    ),
    "boost": (
        "The runner was started with Android's task profile {profile}.",
        "Compare only with results that were taken so.",
    ),
    "no_boost": (
        "The runner was started without Android's task profile {profile}: {reason}.",
        "Leave --boost out, or use a phone with Android 13 or newer.",
    ),
    "no_checksums": (
        "{device} has no program for SHA-256: what is there from earlier runs is not known, so "
        "everything was sent again, and that it arrived whole is known from its size only.",
        "Nothing is to be done, but for the time that it takes; a toybox or busybox with sha256sum "
        "on its PATH changes that.",
    ),
    "hidden_page": (
        "The page was hidden while it was measured: browsers slow the pages down that nobody sees.",
        "Keep the page in front and the screen on, and measure again.",
    ),
    "tier_up": (
        "The first inference took {times} times as long as a steady one, by {clock}; it was steady "
        "after {count}: a browser compiles WebAssembly quickly first, and once more, better, while "
        "it runs.",
        "The latency is that of the steady state; a page that infers only once or twice takes as "
        "long as the first ones.",
    ),
    "rounds_otherwise": (
        "In {precision} the page computes other numbers than {engine} does here on the same input: "
        "the two are {here} dB and {there} dB from those of the network. They round at other "
        "places, and each was judged by what such rounding costs.",
        "Have the accuracy measured with the engine that is shipped; where an answer is close, the "
        "two may give different ones.",
    ),
    "software_adapter": (
        "{case} is emulated: {reason}.",
        "Take its times for those of this program on the processor, not of any GPU; measure on a "
        "machine whose browser has a GPU.",
    ),
    "emulated": (
        "{device} is emulated: its times are not those of any real device.",
        "Use them to check that everything works; measure on the device itself.",
    ),
}

_BUSIEST = "The busiest other process used {share} of a core: {process}."

_SLOWED = (
    "Inferences took {ratio} times as long as undisturbed ones, going by {basis}; below "
    "{fine_below} is fine, above {bad_above} unreliable."
)

_IF_KNOWN = {
    "preempted": _BUSIEST,
    "preempted_samples": _BUSIEST,
    "more_threads_than_cores": _SLOWED,
    "more_threads_than_free_cores": _SLOWED,
}
"""A second sentence, for findings that have its figures as well."""


_BRIEF = {
    "random_weights": "random weights",
    "fused_across_modules": "operators fused across modules",
    "unplaced_operators": "operators that could not be placed in a module",
    "categories_by_table": "categories from tables of names",
    "unchecked": "signs of trouble that the device does not tell",
}
"""Notes that every run of a network has again, in a few words."""


@functools.cache
def _words() -> Mapping[str, tuple[str, str]]:
    """Return the words for every code: those here, and those of the engines for their own."""
    own = (engines.words(name) for name in engines.names())
    return collections.ChainMap(_WORDS, *map(dict, own))


def word(
    finding: Finding, subjects: tuple[str, ...] = (), devices: Iterable[Device] = ()
) -> WordedFinding:
    """Put a finding into words.

    Args:
        finding: with any code; one that is unknown, or lacks a figure, is shown as it is.
        subjects: names of the cases it is about.
        devices: that it was found on; what is to be done depends on them.
    """
    values = {name: _shown(value) for name, value in finding.values.items()}
    sentence, remedy = _words().get(finding.code, ("", ""))
    if sentence := _filled(sentence, values):
        sentence = f"{sentence} {_filled(_IF_KNOWN.get(finding.code, ''), values)}".rstrip()
    else:
        remedy = ""
        listed = ", ".join(f"{name} = {value}" for name, value in values.items())
        sentence = f"Recorded as '{clean(finding.code)}'" + (f": {listed}." if listed else ".")
    return WordedFinding(
        finding.level,
        clean(finding.code),
        subjects,
        clean(sentence),
        _fitted(remedy, devices),
        finding.values,
    )


def _fitted(remedy: str, devices: Iterable[Device]) -> str:
    """Return a remedy with what can be done on the devices, whatever their systems."""
    devices = [*devices]
    if devices and all(device.profile.name == web.DEVICE for device in devices):
        for words, instead in _ON_PAGES.items():
            remedy = remedy.replace(words, instead)
    systems = [str(device.identity.get("os", "")) for device in devices]
    for words in (_STEADY, _FED):
        fitting = [
            next(
                (of.get(words, words) for start, of in _INSTEAD.items() if os.startswith(start)),
                words,
            )
            for os in systems
        ]
        remedy = remedy.replace(words, " or ".join(dict.fromkeys(fitting)) or words)
    return remedy


def _filled(template: str, values: dict[str, str]) -> str:
    """Return a sentence with its figures; empty when it lacks one."""
    try:
        return template.format_map(values)
    except KeyError:
        return ""


def word_all(
    findings: Iterable[ViewFinding], cases: Sequence[CaseView] = ()
) -> tuple[WordedFinding, ...]:
    """Put findings into words, in the order they are given.

    Args:
        findings: of a view.
        cases: of that view.
    """
    return tuple(word(one.finding, one.subjects, _devices_of(one, cases)) for one in findings)


def _devices_of(one: ViewFinding, cases: Sequence[CaseView]) -> tuple[Device, ...]:
    """Return the devices of a finding's cases; all when it is about something else."""
    own = tuple(case.device for case in cases if case.name in one.subjects)
    return own or tuple(case.device for case in cases)


def unreliable(view: View) -> tuple[str, ...]:
    """Return one line on every result of a run that is unreliable, with the reasons."""
    worded = word_all(view.findings)
    lines = []
    for name, verdict in view.verdicts:
        if verdict.grade is Grade.UNRELIABLE:
            codes = {signal.code for signal in verdict.reasons if signal.grade is verdict.grade}
            reasons = [f.sentence for f in worded if name in f.subjects and f.code in codes]
            lines.append(f"{name} is unreliable: {' '.join(reasons)}")
    return tuple(lines)


def grouped(
    findings: Iterable[ViewFinding], cases: Sequence[CaseView] = ()
) -> tuple[FindingGroup, ...]:
    """Put findings into words, those that differ only in case and figures together.

    Of more than two cases their keys are said in the place of their names, as tables have both.

    Args:
        findings: of a view.
        cases: of that view.
    """
    together: dict[tuple[Level, str, str], list[tuple[str, str]]] = {}
    for f in word_all(findings, cases):
        lines = together.setdefault((f.level, f.code, f.remedy), [])
        lines.append((called(f.subjects, cases), f.sentence))
    return tuple(
        FindingGroup(level, code, tuple(lines), remedy)
        for (level, code, remedy), lines in together.items()
    )


def apart(
    groups: Iterable[FindingGroup], cases: Sequence[CaseView]
) -> tuple[tuple[FindingGroup, ...], str]:
    """Take the notes out that every run of a network has again.

    Args:
        groups: findings of a run.
        cases: of that run.

    Returns:
        The other findings, and a line that names those; empty without any.
    """
    others, said = [], []
    everyone = called([case.name for case in cases], cases)
    for group in groups:
        words = _BRIEF.get(group.code) if group.level is Level.NOTE else None
        if words is None:
            others.append(group)
            continue
        subjects = list(dict.fromkeys(subject for subject, _ in group.lines if subject))
        of_all = not subjects or len(cases) == len(subjects) or subjects == [everyone]
        said.append(words if of_all else f"{words} ({', '.join(subjects)})")
    line = f"Noted as usual, the report says more: {'; '.join(said)}." if said else ""
    return tuple(others), line


def called(subjects: Sequence[str], cases: Sequence[CaseView]) -> str:
    """Return what a finding is about, shortly."""
    if len(cases) <= NAMED:
        return ", ".join(subjects)
    names = [case.name for case in cases]
    if {*subjects} == {*names}:
        return "All cases"
    places = sorted(names.index(subject) for subject in subjects if subject in names)
    # What follows one another has the same distance to its place in the list.
    runs = [
        [cases[place].key for _, place in run]
        for _, run in itertools.groupby(enumerate(places), lambda pair: pair[1] - pair[0])
    ]
    listed = [[f"{keys[0]}–{keys[-1]}"] if len(keys) > 2 else keys for keys in runs]
    ratios = {f"{b.name} ÷ {a.name}": f"{b.key} ÷ {a.key}" for a in cases for b in cases}
    others = [ratios.get(subject, subject) for subject in subjects if subject not in names]
    return ", ".join((*itertools.chain(*listed), *others))


def ratio_text(estimate: RatioEstimate) -> str:
    """Return a ratio with as many digits as its interval bears."""
    return f"{estimate.ratio:.{_digits(estimate)}f}"


def interval_text(estimate: RatioEstimate) -> str:
    """Return the interval of a ratio with as many digits as it bears."""
    digits = _digits(estimate)
    return f"{estimate.low:.{digits}f}–{estimate.high:.{digits}f}"


def _digits(estimate: RatioEstimate) -> int:
    return 3 if estimate.high - estimate.low >= 0.002 else 4


def _shown(value: str | int | float) -> str:
    if isinstance(value, float):
        return significant(value).replace("-", "−")
    return clean(str(value)).rstrip(".")
