"""Heads that take the feature maps of an encoder: what families of networks share.

==================  ===========================================================================
``layers.py``       the convolution that all of them are made of
``ssdlite.py``      detection: SSDLite on maps at output strides 16 and 32
``deeplabv3.py``    segmentation: DeepLabv3 on a map at output stride 16
``shapes.py``       names and shapes of their tensors, known without torch
==================  ===========================================================================

Architecture and names of tensors are those of CVNets (tag v0.1), whose networks have the encoder as
``encoder``; an encoder returns its maps, that at the largest output stride last.
"""
