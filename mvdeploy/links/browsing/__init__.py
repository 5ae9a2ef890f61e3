"""Browsers as devices: what those here and those on phones share.

A job is done in a page that this process serves (`site`), in a browser that is driven by its
DevTools protocol (`devtools`); `doing` brings both together, and says what becomes of a job when
the page or the browser does not get to its end.
"""
