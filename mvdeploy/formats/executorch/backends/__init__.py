"""What a program is lowered to.

A backend is one file in this folder. It is light to import and has:

``RUNS_ON``
    what it takes to run such a program, such as ``an Apple device``; empty where the ExecuTorch of
    this machine is enough.
``FORMULATION``
    how the network is written for it: one of `mvdeploy.passes.FORMULATIONS`.
``REWRITINGS``
    names of `mvdeploy.rewritings` with which it takes more of a network; used when the
    network is written in its formulation.
``NEEDED``
    those of them without which it computes something else; always used.
``PACKAGES``
    distributions that make the program, besides torch and executorch.
``TARGETS``
    what it has in whole numbers, a `Target` of `mvdeploy.quantization` for each such precision; a
    backend without any is not given such programs.
``partitioners()``
    what chooses the operators that it takes.
``lowering()``
    a context that the lowering runs in; a backend without a need may lack it.
"""
