"""A server of version 0.1.0 as it was at work: its database, its files and its cluster file; `make.sh` made them."""
