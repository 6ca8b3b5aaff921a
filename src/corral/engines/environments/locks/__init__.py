"""The locked files of the environments, one for each engine and variant; `make lock` writes them."""
