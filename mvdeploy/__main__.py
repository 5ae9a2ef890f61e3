"""`python -m mvdeploy`."""

from mvdeploy.cli import main

if __name__ == "__main__":
    main()
