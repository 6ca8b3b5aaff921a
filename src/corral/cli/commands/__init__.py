"""One module for each command, or for each kind of thing that commands are about: parse, call, print."""
