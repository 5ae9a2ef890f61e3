"""A traced program → the same in whole numbers, and what is kept to do that again."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

from mvdeploy.errors import UsageError
from mvdeploy.quantization import Scheme, Target
from mvdeploy.quiet import quiet
from mvdeploy.records.quantized import Quantized

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mvdeploy.quantization.calibration import Calibration
    from mvdeploy.quantization.emulation import Emulation, Halved
    from mvdeploy.quantization.places import Places


@dataclasses.dataclass
class Quantiser:
    """Has a program computed in whole numbers.

    Attributes:
        scheme: what the precision quantises.
        target: what the engine has.
        kept: patterns of modules that stay in float.
        calibration: what scales are taken from; None where they are given or found.
        quantized: scales that are known; filled in when there were none.
        emulation: what PyTorch runs of the program in whole numbers, once there is one.
    """

    scheme: Scheme
    target: Target
    kept: tuple[str, ...] = ()
    calibration: Calibration | None = None
    quantized: Quantized | None = None
    emulation: Emulation | None = None

    def __call__(self, program: ExportedProgram) -> ExportedProgram:
        """Return a program in whole numbers.

        Args:
            program: traced, and functional; stays as it is.

        Raises:
            UsageError: nothing in it can be quantised, a pattern of `kept` fits no module, or
                known scales are those of another program.
        """
        from mvdeploy.quantization import places, rewriting

        if "silu" in self.target.others and self.scheme.everything:
            with quiet():
                program = copy.deepcopy(program)
            places.split_silu(program, self.kept)
        found = places.find(program, self.scheme, self.target, self.kept)
        self._check(program, found)
        rewriter = rewriting.Rewriter(program, self.target)
        names = tuple(node.name for node in found.weighted)
        if self.scheme.dynamic:
            self.quantized = self.quantized or Quantized(names, self.kept)
            return rewriter.dynamic(found)
        if self.quantized is None:
            self.quantized = self._calibrated(program, found, names)
        return rewriter.static(found, self.quantized.scales)

    def emulate(
        self,
        program: ExportedProgram,
        quantised: ExportedProgram,
        halved: Halved | None = None,
    ) -> None:
        """Keep what PyTorch runs of a program in whole numbers.

        Args:
            program: as it was before.
            quantised: in whole numbers, with the names that the file has.
            halved: says which of its floats are in half precision; None for none.
        """
        from mvdeploy.quantization import emulation

        self.emulation = emulation.Emulation(quantised, emulation.weights_of(program), halved)

    def _calibrated(
        self, program: ExportedProgram, found: Places, names: tuple[str, ...]
    ) -> Quantized:
        from mvdeploy.quantization import calibration

        if self.calibration is None:
            raise UsageError(
                "The file does not say with which scales its numbers are whole ones.",
                "Export it again with this version.",
            )
        scales = calibration.scales(program, found, self.target, self.calibration)
        described = self.calibration.described()
        return Quantized(names, self.kept, scales, described, self.target.narrow)

    def _check(self, program: ExportedProgram, found: Places) -> None:
        from mvdeploy.quantization import places

        modules = [places.module_of(n) for n in program.graph.nodes if n.op == "call_function"]
        for pattern in self.kept:
            if not any(places.is_kept(module, (pattern,)) for module in modules):
                raise UsageError(
                    f"No module of the network is called '{pattern}'.",
                    "Give a path such as 'layer_1.0', or a pattern such as 'layer_1*', after "
                    "--keep-float; --sensitivity names those in whole numbers.",
                )
        if not found.weighted:
            raise UsageError(
                "Nothing in the network can be computed in whole numbers.",
                "Give --precision fp32, or keep less of it with --keep-float.",
            )
        known = self.quantized.scales if self.quantized is not None else {}
        missing = [n.name for n in found.values if known and n.name not in known]
        if missing and not self.scheme.dynamic:
            raise UsageError(
                f"The file's scales are not those of this network as it is traced here: there is "
                f"none for '{missing[0]}'.",
                "Export it again with the versions that are installed.",
            )
