"""``python -m mvdeploy.runners.apple``."""

from mvdeploy.runners.apple import main

if __name__ == "__main__":
    main()
