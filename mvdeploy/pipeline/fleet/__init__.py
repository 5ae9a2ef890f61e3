"""A fleet: many devices, on this machine or on many, measured by one command.

==============  ==================================================================================
`tasks`         what `mvdeploy.pipeline.bench` is asked for, as plain JSON, and back
`parcels`       files and folders as bytes that are sent
`child`         the process of its own in which a task is done
`turns`         who may use a machine: its devices at once, the machine itself alone
`executors`     where tasks are done: `local` on this machine, `cluster` on many
`queue`         which task is done where, again where a machine was lost, and what cannot be done
`bench`         the folder of it all: what is done is kept, and what asks again goes on from there
`blocks`        the blocks of a study or a sweep, on several devices of a kind
`machine`       a machine of a cluster: what it offers, what was sent to it, what it does
`keys`          certificates for machines that trust each other
==============  ==================================================================================

The queue, the results and what goes on from them are here; an executor only has one task done on
one device.
"""
