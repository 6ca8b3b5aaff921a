"""The command line: parse, call one use case, print.

Belongs here: commands, their help, tables and progress bars.
Does not belong here: anything a program would want to call.
May import: everything; heavy imports are inside the commands, so that `--help` stays quick.
"""
