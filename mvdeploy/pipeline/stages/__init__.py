"""What an app waits for: from a picture's bytes to an answer, and the first time after a start.

``steps``
    the stages of a pipeline as functions, each taking what the one before returned.
``runner``
    the program that times them, in a process of its own.
``measuring``
    has that done for the cases of a run.
``first_run``
    starts processes anew, with the file in the system's cache and without.
``beside``
    starts a program on this machine and reads what it prints.
"""
