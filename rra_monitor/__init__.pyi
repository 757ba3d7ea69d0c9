from . import graph as graph
from . import metrics as metrics
from .capture import iter_features as iter_features
from .compare import match as match
from .graph import KnnGraph as KnnGraph
from .graph import default_k as default_k
from .graph import knn_graph as knn_graph
from .guest import undisturbed as undisturbed
from .monitor import Monitor as Monitor
from .names import metric_key as metric_key
from .pooling import pooled as pooled
from .record import Match as Match
from .record import Record as Record
from .record import scalars as scalars
from .recorder import Recorder as Recorder
from .sample import FixedSample as FixedSample
from .sinks import JSONLSink as JSONLSink
from .sinks import Sink as Sink
from .snapshot import Settings as Settings
from .snapshot import Snapshot as Snapshot
from .store import RunStore as RunStore

__version__: str
