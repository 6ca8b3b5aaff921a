"""The console: a web page over Corral's own API, as files that a browser loads without a build.

Belongs here: the page itself (`page/`: one HTML file, ES modules, a style sheet, vendored libraries) and how its files
are named, cached and guarded.
Does not belong here: HTTP, who asks, data; the page has all its data from the API and its stream of events.
May import: nothing of Corral.
"""
