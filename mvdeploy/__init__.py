"""mvdeploy: deploy light vision transformers, and measure where their latency goes.

The pipeline::

    spec = models.make_spec("mobilevit_s", patches=...)   which network
    network = models.build(spec)                          nn.Module, eval mode
    network, report = passes.apply(network, example)      BatchNorm folded, checked
    artifact = export.write(source, "onnx", path)         a file and its manifest
    parity = verify.parity.check(artifact, ...)           does it still compute the same?
    measure(entries, link, plan, listener)                samples, on a device
    breakdown = attribute.break_down(trace, artifact, t)  where the latency goes
    report.render(saved, breakdowns, folder)              Markdown, HTML, CSV, PNG

`mvdeploy.pipeline` runs these stages; the commands call it.
"""

__version__ = "0.1.0"
