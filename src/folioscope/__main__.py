"""`python -m folioscope` is `folioscope`."""

from folioscope.cli import main

if __name__ == "__main__":
    main()
