from .build import knn_graph as knn_graph
from .knn import KnnGraph as KnnGraph
from .knn import default_k as default_k
from .part_sizes import PartsPlan as PartsPlan
from .part_sizes import parts_plan as parts_plan
from .parts import GraphOfParts as GraphOfParts
from .sharded import ShardedGraph as ShardedGraph
