"""Types of the public names, which are imported when they are used."""

from mvdeploy.api.bench import bench as bench
from mvdeploy.api.compare import Comparison as Comparison
from mvdeploy.api.compare import compare as compare
from mvdeploy.api.export import Exported as Exported
from mvdeploy.api.export import export as export
from mvdeploy.api.result import Pair as Pair
from mvdeploy.api.result import Result as Result
from mvdeploy.api.result import ResultCase as ResultCase
from mvdeploy.api.result import load as load
from mvdeploy.errors import MvdeployError as MvdeployError
from mvdeploy.models import build as build
from mvdeploy.models import make_spec as make_spec
from mvdeploy.pipeline.bench import Request as Request
from mvdeploy.pipeline.bench import run as run
from mvdeploy.pipeline.export import Builder as Builder
from mvdeploy.pipeline.report import render as render
from mvdeploy.records import ModelSpec as ModelSpec
from mvdeploy.records import Plan as Plan
from mvdeploy.records.run import load_run as load_run
from mvdeploy.records.spec import parse_patches as parse_patches

__version__: str
__all__: list[str]
