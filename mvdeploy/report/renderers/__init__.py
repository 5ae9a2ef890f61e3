"""Report formats, one file for each, with a function ``render(view, folder)``.

It writes its files into the folder and returns their paths.
"""
